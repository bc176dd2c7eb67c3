"""
The stress harness in pytest: the decorator `stress_test` and the fixture `explore`.

pytest loads this module in every project that has lmi_runtime installed, so whatever it needs is
imported when a stress test runs, and not before.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import shlex
import shutil
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from lmi_runtime.stress.declare import Declared
    from lmi_runtime.stress.model import Report

__all__ = ["Explore", "explore"]

_WIDEST = 160
_SKIPPED = pytest.StashKey[str]()
"""Why a test was skipped here, to be shown where the test is and not where the plugin is."""


# ------------------------------------------------------------------------- options


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, in a group of their own."""
    group = parser.getgroup("lmi_runtime", "lmi_runtime: stress tests")
    group.addoption(
        "--lmi-stress-budget",
        type=_duration,
        metavar="TIME",
        help="search for so long in each stress test, such as 10s or 2m, whatever the test says",
    )
    group.addoption("--lmi-stress-seed", type=int, metavar="N", help="the seed of every search")
    group.addoption(
        "--lmi-stress-html",
        metavar="DIR",
        help="write a page there for each stress test that fails, warns or proves nothing",
    )
    group.addoption(
        "--lmi-stress-replay",
        metavar="TOKEN",
        help="run only the schedule of this token, in the test it is of; skip other stress tests",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Look at the options before any test runs, and not when one fails."""
    pages = config.option.lmi_stress_html
    if pages:
        # Workers of pytest-xdist are told this too, and need not share the directory.
        config.option.lmi_stress_html = str(config.invocation_params.dir / pages)
    token = config.option.lmi_stress_replay
    if token:
        from lmi_runtime.stress.search.tokens import TokenError, decode

        try:
            decode(token)
        except TokenError as error:
            raise pytest.UsageError(f"--lmi-stress-replay: {error}") from error


def _duration(text: str) -> float:
    from lmi_runtime.stress.durations import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


# ------------------------------------------------------------------------- the two doors


class Explore:
    """
    What the fixture `explore` gives to a test: `lmi_runtime.stress.explore`, as an assertion.

    Thread safety: of one test.
    """

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self._calls = 0

    def __call__(
        self,
        setup: Callable[[], Any],
        participants: Any,
        invariant: Callable[[Any], Any] | None = None,
        *,
        fail_on_warning: bool = False,
        allow_inconclusive: bool = False,
        **options: Any,
    ) -> Report:
        """
        Look for an order of events under which the participants fail.

        Args:
            setup: See `lmi_runtime.stress.explore`.
            participants: See there.
            invariant: See there.
            fail_on_warning: Fail also for what only free-threaded builds can do.
            allow_inconclusive: Skip, and say why, when nothing could be proven.
            **options: See there.

        Returns:
            The report of a search that passed.

        Raises:
            StressFailure: It did not pass; an `AssertionError`.
        """
        __tracebackhide__ = True
        _require_the_extra()
        from lmi_runtime.stress.exploring import explore as search

        self._calls += 1
        suffix = f" ({self._calls})" if self._calls > 1 else ""
        name = options.pop("name", "") or f"{self._item.nodeid}{suffix}"
        run = _Run(self._item, name)
        given = run.settings(options)
        report = search(setup, participants, invariant, name=name, replay=run.token, **given)
        return run.judge(
            report, fail_on_warning=fail_on_warning, allow_inconclusive=allow_inconclusive
        )


@pytest.fixture
def explore(request: pytest.FixtureRequest) -> Explore:
    """
    Look for an order of events under which callables fail: ``explore(setup, participants,
    invariant)``. See `lmi_runtime.stress.explore` for what it takes.
    """
    return Explore(request.node)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object | None:
    """Run what `stress_test` declared instead of the function that stands in for it."""
    __tracebackhide__ = True
    declaration = getattr(pyfuncitem.obj, "__lmi_stress__", None)
    if declaration is None:
        return None
    _require_the_extra()
    _stress(pyfuncitem, declaration)
    return True


def _stress(item: pytest.Function, declaration: Declared) -> None:
    __tracebackhide__ = True
    from lmi_runtime.bootstrap.stressing import StressOptions, stress_handler
    from lmi_runtime.errors import ConfigurationError
    from lmi_runtime.handlers import init_failure_of

    run = _Run(item, declaration.handler)
    root = _task_root(item, declaration)
    names = item._fixtureinfo.argnames
    fixtures = {name: item.funcargs[name] for name in names}
    bound = () if item.instance is None else (item.instance,)
    options = run.settings(dict(declaration.options))
    options["invariant"] = declaration.invariant(bound, fixtures)
    trouble = ""
    try:
        report = stress_handler(
            declaration.handler,
            _events(declaration, item.path.parent, root),
            StressOptions(**options),
            task_root=root,
            replay=run.token,
        )
    except ConfigurationError as error:
        trouble = f"{declaration.handler} cannot be stressed: {error}\n"
        trouble += "".join(init_failure_of(error).stack)
    if trouble:  # out here, so that what lies beneath is not shown twice
        pytest.fail(trouble.rstrip(), pytrace=False)
    run.judge(
        report,
        fail_on_warning=declaration.fail_on_warning,
        allow_inconclusive=declaration.allow_inconclusive,
    )


def _task_root(item: pytest.Item, declaration: Declared) -> Path:
    from lmi_runtime.stress.project import task_root_of

    here = item.path.parent
    if declaration.task_root is not None:
        return here / declaration.task_root
    top = item.config.rootpath
    return task_root_of(declaration.handler, here, top) or top


def _events(declaration: Declared, here: Path, root: Path) -> Any:
    from lmi_runtime.stress.events import load_events
    from lmi_runtime.stress.project import event_files, handler_file

    if isinstance(declaration.events, str | os.PathLike):
        return load_events(here / declaration.events)
    if declaration.events is not None:
        return declaration.events
    file = handler_file(declaration.handler, root)
    found = event_files(file.parent if file else root)
    return [event for path in found for event in load_events(path)] or [{}]


# ------------------------------------------------------------------------- one search


class _Run:
    """What the command line and the test's decorators say about one search, and its verdict."""

    def __init__(self, item: pytest.Item, subject: str) -> None:
        self._item = item
        self._config = item.config
        self._subject = subject
        self.token = self._token()

    def settings(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options of a test, overruled by those of the command line."""
        chosen = self._config.option
        if chosen.lmi_stress_budget is not None:
            options["budget_s"] = chosen.lmi_stress_budget
        if chosen.lmi_stress_seed is not None:
            options["seed"] = chosen.lmi_stress_seed
        options.setdefault("examples", self._examples())
        return options

    def _token(self) -> str | None:
        from lmi_runtime.stress.declare import token_of
        from lmi_runtime.stress.project import handler_of
        from lmi_runtime.stress.search.tokens import TokenError, decode

        token: str | None = token_of(getattr(self._item, "obj", None))
        if token is not None:
            try:
                decode(token)
            except TokenError as error:
                pytest.fail(f"@reproduce_failure: {error}", pytrace=False)
            return token
        asked: str | None = self._config.option.lmi_stress_replay
        if asked is None or (wanted := handler_of(decode(asked).subject)) == self._subject:
            return asked
        if not wanted.startswith(f"{self._item.nodeid} ("):
            self._skip(f"--lmi-stress-replay is of {wanted}")
        return None

    def _skip(self, reason: str) -> NoReturn:
        self._item.stash[_SKIPPED] = reason
        pytest.skip(reason)

    def _examples(self) -> Path | None:
        """Failures are kept in pytest's cache, and are tried first the next time."""
        cache = getattr(self._config, "cache", None)
        if cache is None:
            return None
        try:
            return Path(cache.mkdir("lmi_stress"))
        except OSError:
            return None

    def judge(self, report: Report, *, fail_on_warning: bool, allow_inconclusive: bool) -> Report:
        """
        The report, if the test may go on.

        Raises:
            StressFailure: It may not.
        """
        __tracebackhide__ = True
        from lmi_runtime.stress.failures import StressFailure, StressWarning
        from lmi_runtime.stress.model import Verdict

        if report.verdict is Verdict.PASSED and not report.findings:
            return report
        page = self._write_page(report)
        if report.verdict is Verdict.INCONCLUSIVE and allow_inconclusive:
            self._skip(_headline(report))
        if report.verdict is not Verdict.PASSED or fail_on_warning:
            raise StressFailure(self._told(report, page), report)
        warning = StressWarning(self._told(report, page), report)
        line = self._item.location[1] or 0
        warnings.warn_explicit(warning, None, str(self._item.path), line + 1)
        return report

    def _told(self, report: Report, page: Path | None) -> str:
        from lmi_runtime.stress.model import Verdict
        from lmi_runtime.stress.report import text

        # The command lmi does not know a test, so its token stands below, with pytest's own.
        plain = tuple(dataclasses.replace(each, token="") for each in report.findings)
        width = min(shutil.get_terminal_size((100, 24)).columns, _WIDEST)
        lines = [text(dataclasses.replace(report, findings=plain), width=width).rstrip()]
        token = next((each.token for each in report.findings if each.token), "")
        if self.token is not None and report.verdict is Verdict.INCONCLUSIVE:
            lines += ["", "Only the schedule of a token was run. Take the token away to search."]
        if page is not None:
            lines += ["", f"page: {page}"]
        if token:
            test = shlex.quote(self._name_for_the_command_line())
            lines += [
                "",
                f"reproduce with: pytest {test} --lmi-stress-replay {token}",
                f'or decorate it: @reproduce_failure("{token}")',
            ]
        return "\n".join(lines)

    def _name_for_the_command_line(self) -> str:
        file = os.path.relpath(self._item.path, self._config.invocation_params.dir)
        return "::".join([file, *str(self._item.nodeid).split("::")[1:]])

    def _write_page(self, report: Report) -> Path | None:
        from lmi_runtime.stress.report import html

        directory = self._config.option.lmi_stress_html
        if not directory:
            return None
        page = Path(directory) / f"{_file_name(report.subject, self._item.nodeid)}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(html(report), encoding="utf-8")
        self._item.user_properties.append(("lmi_stress_html", str(page)))
        return page


def _file_name(subject: str, nodeid: str) -> str:
    """Readable, and another one for each search."""
    whole = nodeid if subject.startswith(nodeid) else f"{nodeid} {subject}"
    words = re.sub(r"[^A-Za-z0-9]+", "-", whole).strip("-")[-80:].strip("-")
    import hashlib  # pytest reads this file in every project; most never come here

    return f"{words}-{hashlib.sha256(f'{nodeid} {subject}'.encode()).hexdigest()[:8]}"


def _require_the_extra() -> None:
    try:
        import hypothesis  # noqa: F401
    except ImportError:
        pytest.fail(
            "stress tests need hypothesis: pip install 'lmi_runtime[stress]'", pytrace=False
        )


# ------------------------------------------------------------------------- how it is shown


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the report alone: how the plugin came to raise it is of no interest."""
    outcome = yield
    if call.excinfo is None:
        return outcome
    if outcome.skipped and _SKIPPED in item.stash:
        line = item.location[1] or 0
        outcome.longrepr = (str(item.path), line + 1, f"Skipped: {item.stash[_SKIPPED]}")
        return outcome
    told = getattr(call.excinfo.value, "report", None)
    if told is None or item.config.option.fulltrace:
        return outcome
    from lmi_runtime.stress.failures import StressFailure, StressWarning

    if isinstance(call.excinfo.value, StressFailure | StressWarning):
        shown: Any = call.excinfo.getrepr(style="value")
        if shown.reprcrash is not None:
            shown.reprcrash.message = _headline(told)
        outcome.longrepr = shown
    return outcome


def _headline(report: Report) -> str:
    """For pytest's short summary, which names the test itself."""
    from lmi_runtime.stress.report import summary

    for finding in report.findings:
        return _one_line(f"{finding.oracle}: {finding.sentence}")
    return _one_line(summary(report)).removeprefix(f"{report.subject}: ")


def _one_line(text: str) -> str:
    return " ".join(text.split())
