"""``lmi stress``: find the race in a handler, and show it in its smallest form."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lmi_runtime.cli.arguments import duration, natural, positive
from lmi_runtime.cli.errors import CliError
from lmi_runtime.cli.stress_view import FORMS, note, progress_line, show, write

if TYPE_CHECKING:
    from lmi_runtime.bootstrap.stressing import StressOptions
    from lmi_runtime.stress.model import Report

__all__ = ["ORACLES", "SOURCES", "add_to"]

# Named here too, so that `lmi --help` needs no optional library. A test compares.
SOURCES = (
    "alb",
    "apigw-v1",
    "apigw-v2",
    "dynamodb",
    "eventbridge",
    "function-url",
    "kafka",
    "kinesis",
    "s3",
    "sns",
    "sqs",
)
ORACLES = (
    "deadline",
    "environment",
    "exception",
    "invariant",
    "isolation",
    "leak",
    "serial",
)

_EXAMPLES = ".lmi-stress"

_DESCRIPTION = """\
Invoke a handler several times at once, in every order that matters, one order after the other;
when it fails in one, show the smallest that does."""
_EPILOG = """\
without --events, --source or --schema the events are taken from events.json, tests/events/*.json
or events/*.json beside the handler; without any of these, one empty event {}

exit status: 0 passed, 1 failed, 2 wrong command line or a handler that cannot be imported,
3 inconclusive: something was not under control, nothing is proven; 130 interrupted"""


def add_to(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "stress",
        help="find the race in a handler",
        usage="%(prog)s app.handler [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "handler", nargs="?", help="module.function, such as app.handler (default: the token's)"
    )
    _add_events(parser)
    _add_search(parser)
    _add_outputs(parser)
    parser.set_defaults(execute=_execute)


def _add_events(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what the invocations get").add_mutually_exclusive_group()
    group.add_argument(
        "--events",
        action="append",
        type=Path,
        metavar="FILE",
        help="JSON: one event or a list of events; may be given more than once",
    )
    group.add_argument(
        "--source",
        choices=SOURCES,
        metavar="NAME",
        help=f"make up events of a source: {', '.join(SOURCES)}",
    )
    group.add_argument(
        "--schema", type=Path, metavar="FILE", help="make up events that a JSON schema accepts"
    )
    group.add_argument(
        "--replay", metavar="TOKEN", help="run only what the token of an earlier failure says"
    )


def _add_search(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how to search")
    group.add_argument(
        "--concurrency",
        type=positive,
        default=2,
        metavar="N",
        help="invocations at once (default: %(default)s)",
    )
    group.add_argument(
        "--mode",
        choices=("async", "threads", "process"),
        help="how invocations share a process (default: what the handler asks for)",
    )
    group.add_argument(
        "--budget",
        type=duration,
        default=25.0,
        metavar="TIME",
        help="stop after so long, such as 60s, 2m or 1m30s (default: 25s)",
    )
    group.add_argument(
        "--schedules",
        type=positive,
        default=2000,
        metavar="N",
        help="stop after so many orders (default: %(default)s)",
    )
    group.add_argument(
        "--preemptions",
        type=natural,
        default=2,
        metavar="N",
        help="try every order with at most so many (default: %(default)s)",
    )
    group.add_argument(
        "--granularity",
        choices=("default", "gil", "free-threaded", "line"),
        default="default",
        help="where threads may be preempted (default: gil, then free-threaded as a warning)",
    )
    group.add_argument(
        "--backend",
        choices=("asyncio", "trio"),
        help="event loop for async def (default: LMI_BACKEND, else asyncio)",
    )
    group.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="watch this package as well as your own code; may be given more than once",
    )
    group.add_argument(
        "--seed", type=int, default=0, metavar="N", help="same seed, same runs (default: 0)"
    )
    group.add_argument(
        "--ignore",
        action="append",
        default=[],
        choices=ORACLES,
        metavar="ORACLE",
        help=f"look away: {', '.join(ORACLES)}; may be given more than once",
    )
    group.add_argument(
        "--no-cancel", action="store_true", help="never cancel an invocation that waits"
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is kept")
    for form, what in (
        ("html", "the report as a page"),
        ("json", "the report for programs"),
        ("sarif", "the report for code scanning"),
    ):
        group.add_argument(f"--{form}", type=Path, metavar="FILE", help=what)
    examples = group.add_mutually_exclusive_group()
    examples.add_argument(
        "--examples",
        type=Path,
        default=Path(_EXAMPLES),
        metavar="DIR",
        help="keep failures there and try them first the next time "
        f"(default: {_EXAMPLES} in this directory; safe to delete)",
    )
    examples.add_argument("--no-examples", action="store_true", help="keep and try none")


# ------------------------------------------------------------------------- the command


def _execute(arguments: argparse.Namespace) -> int:
    _require_the_extra()
    from lmi_runtime.errors import ConfigurationError
    from lmi_runtime.stress.search.tokens import TokenError

    try:
        _name_the_handler(arguments)
        _check_outputs(arguments)
        report = _search(arguments)
    except TokenError as error:
        raise CliError(f"--replay: {error}") from error
    except ConfigurationError as error:
        _show_cause(error)
        raise CliError(str(error)) from error
    show(report)
    for form in FORMS:
        write(report, form, getattr(arguments, form))
    if arguments.replay and not report.findings:
        note("what the token showed does not happen any more; without --replay all is searched")
    return {"passed": 0, "failed": 1, "inconclusive": 3}[report.verdict.value]


def _require_the_extra() -> None:
    try:
        import hypothesis  # noqa: F401
        import rich  # noqa: F401
    except ImportError as error:
        raise CliError(
            f"`lmi stress` needs {error.name}: pip install 'lmi_runtime[stress]'"
        ) from error


def _name_the_handler(arguments: argparse.Namespace) -> None:
    if arguments.replay:
        from lmi_runtime.stress.project import handler_of
        from lmi_runtime.stress.search.tokens import decode

        token = decode(arguments.replay)
        subject = handler_of(token.subject)
        if not token.events:
            how = f"`pytest '{subject}' --lmi-stress-replay TOKEN`" if "::" in subject else ""
            how = how or "`explore(..., replay=TOKEN)`"
            raise CliError(f"--replay: the token is of no handler but of {subject!r}; use {how}")
        arguments.handler = arguments.handler or subject
        if arguments.handler != subject:
            note(f"the token is of {subject}, and is tried on {arguments.handler}")
    if not arguments.handler:
        raise CliError("name a handler, such as `lmi stress app.handler`")


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Before the search, not after it."""
    for form in FORMS:
        path = getattr(arguments, form)
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            what = "is a directory" if path.is_dir() else f"there is no directory {path.parent}"
            raise CliError(f"--{form} {path}: {what}")
    if not arguments.no_examples and arguments.examples.is_file():
        raise CliError(f"--examples {arguments.examples}: is a file, not a directory")


def _search(arguments: argparse.Namespace) -> Report:
    from lmi_runtime.bootstrap.stressing import stress_handler

    root = Path.cwd()
    options = _options(arguments, root)
    events = _events(arguments, root)
    with _hypothesis_home(options.examples), progress_line() as advance:
        report = stress_handler(
            arguments.handler,
            events,
            options,
            task_root=root,
            replay=arguments.replay,
            progress=advance,
        )
    _hide_examples(options.examples)
    return report


def _options(arguments: argparse.Namespace, root: Path) -> StressOptions:
    from lmi_runtime.bootstrap.stressing import StressOptions

    for package in arguments.include:
        _check_included(package, root)
    return StressOptions(
        concurrency=arguments.concurrency,
        mode=arguments.mode,
        budget_s=arguments.budget,
        schedules=arguments.schedules,
        preemptions=arguments.preemptions,
        granularity=arguments.granularity,
        backend=arguments.backend,
        include=tuple(arguments.include),
        seed=arguments.seed,
        cancel=not arguments.no_cancel,
        ignore=frozenset(arguments.ignore),
        examples=None if arguments.no_examples else arguments.examples,
    )


def _check_included(package: str, root: Path) -> None:
    """Without importing it: that is for the search to do, under control."""
    from lmi_runtime.stress.watch.scope import Scope

    top = package.partition(".")[0]
    if not all(part.isidentifier() for part in package.split(".")):
        raise CliError(f"--include {package!r} is not the name of a package")
    if (root / top).is_dir() or (root / f"{top}.py").is_file():
        return  # the user's own code, which is watched anyway
    try:
        Scope((package,))
    except (ModuleNotFoundError, ValueError) as error:
        raise CliError(f"--include {package}: {error}") from error


# ------------------------------------------------------------------------- events


def _events(arguments: argparse.Namespace, root: Path) -> Any:
    from lmi_runtime.stress import events

    if arguments.replay:
        from lmi_runtime.stress.search.tokens import decode

        return list(decode(arguments.replay).events)
    if arguments.source:
        return events.SOURCES[arguments.source]()
    if arguments.schema:
        return events.json_schema(_schema(arguments.schema))
    files = arguments.events or _events_beside(arguments.handler, root)
    return [event for path in files for event in events.load_events(path)] or [{}]


def _events_beside(handler: str, root: Path) -> Sequence[Path]:
    from lmi_runtime.stress.project import event_files, handler_file

    file = handler_file(handler, root)
    found = event_files(file.parent if file else root)
    if found:
        names = ", ".join(os.path.relpath(path, root) for path in found[:3])
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        note(f"events from {names}{more}")
    elif file:
        note("no events were given or found: every invocation gets {}; see --events, --source")
    return found


def _schema(path: Path) -> Any:
    from lmi_runtime.stress.events import load_events

    schema, *others = load_events(path)
    if others or not isinstance(schema, dict | bool):
        raise CliError(f"--schema {path}: expected one JSON schema, an object")
    return schema


# ------------------------------------------------------------------------- afterwards


@contextlib.contextmanager
def _hypothesis_home(directory: Path | None) -> Iterator[None]:
    """Hypothesis keeps things as well; all of it in one directory, or in none of the user's."""
    from hypothesis.configuration import set_hypothesis_home_dir

    with contextlib.ExitStack() as stack:
        set_hypothesis_home_dir(directory or stack.enter_context(TemporaryDirectory()))
        try:
            yield
        finally:
            set_hypothesis_home_dir(None)


def _hide_examples(directory: Path | None) -> None:
    """Keep them out of the user's repository, as other tools do with what they keep."""
    if directory is None or not directory.is_dir():
        return
    with contextlib.suppress(OSError), (directory / ".gitignore").open("x") as file:
        file.write("*\n")


def _show_cause(error: BaseException) -> None:
    """What the handler's module raised, from its own lines on."""
    from lmi_runtime.handlers import init_failure_of

    print("".join(init_failure_of(error).stack), end="", file=sys.stderr)
