"""
Say in a test file which handler is to be stressed. The pytest plugin does it.

Nothing here runs anything, so that a test file costs nothing until its tests are run.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["Declared", "declared", "reproduce_failure", "stress_test", "token_of"]

Body = TypeVar("Body", bound=Callable[..., Any])

MODULE = "module"
"""The parameter that gets the handler's module."""

_DECLARED = "__lmi_stress__"
_TOKEN = "__lmi_stress_replay__"


@dataclass(frozen=True, slots=True)
class Declared:
    """
    A handler to be stressed.

    Attributes:
        handler: ``app.handler``.
        events: A file, events, a strategy, or None for what lies beside the handler.
        body: The test as it was written.
        takes_module: It asks for the handler's module.
        options: Fields of `StressOptions` that were given.
        task_root: Directory the handler is imported from; None looks for it.
        fail_on_warning: What only free-threaded builds can do fails as well.
        allow_inconclusive: Skip, and say why, when nothing could be proven.
    """

    handler: str
    events: Any
    body: Callable[..., Any]
    takes_module: bool
    options: dict[str, Any]
    task_root: Path | None
    fail_on_warning: bool
    allow_inconclusive: bool

    def invariant(
        self, arguments: Sequence[Any], keywords: dict[str, Any]
    ) -> Callable[[ModuleType], Any]:
        """The body, with its fixtures bound, as a function of the handler's module."""

        @functools.wraps(self.body)
        def holds(module: ModuleType) -> Any:
            given = {MODULE: module} if self.takes_module else {}
            return self.body(*arguments, **keywords, **given)

        return holds


def stress_test(
    handler: str,
    events: str | os.PathLike[str] | Sequence[Any] | SearchStrategy[Any] | None = None,
    *,
    concurrency: int = 2,
    mode: Literal["async", "threads", "process"] | None = None,
    budget_s: float | None = None,
    schedules: int | None = None,
    preemptions: int | None = None,
    granularity: Literal["default", "gil", "free-threaded", "line"] = "default",
    backend: Literal["asyncio", "trio"] | None = None,
    include: Iterable[str] = (),
    seed: int | None = None,
    cancel: bool = True,
    mark: Literal["auto", "off"] | Callable[..., Any] = "auto",
    ignore: Iterable[str] = (),
    task_root: str | os.PathLike[str] | None = None,
    fail_on_warning: bool = False,
    allow_inconclusive: bool = False,
) -> Callable[[Body], Body]:
    """
    Make a test of a Lambda handler: invoke it several times at once, in every order that matters.

    The body is an invariant. It is called after every run; a parameter named `module` receives
    the handler's module, all others are fixtures, which are set up once. The test fails when the
    body raises or returns False, and when invocations leak into each other, give results that no
    serial order gives, deadlock, or leave something behind. An empty body checks only those::

        @stress_test("app.handler", events=events.apigw_v2())
        def test_orders(module):
            assert module.STOCK >= 0

    Args:
        handler: ``module.function``, as Lambda names it.
        events: Path of a JSON file (relative to the test's), a list of events, or a Hypothesis
            strategy such as ``events.sqs()``. By default ``events.json``, ``tests/events/*.json``
            or ``events/*.json`` beside the handler; without any, one empty event.
        concurrency: Invocations at once.
        mode: How they share a process; by default what the handler asks for.
        budget_s: At most so many real seconds; ``--lmi-stress-budget`` wins. With ``math.inf``
            only `schedules` ends it: the same on every machine.
        schedules: At most so many runs.
        preemptions: Every schedule with at most so many is tried, as far as the budget goes.
        granularity: Where threads may be preempted, see `explore`.
        backend: Which event loop runs ``async def``; by default what ``LMI_BACKEND`` says.
        include: Packages to watch besides your own code.
        seed: The same seed makes the same runs; ``--lmi-stress-seed`` wins.
        cancel: Also cancel invocations wherever they wait.
        mark: How events are made to differ, so that a leak shows: ``auto``, ``off``, or a
            function.
        ignore: Oracles whose findings do not count.
        task_root: Directory the handler is imported from; by default the nearest one, from the
            test's upwards, that has it.
        fail_on_warning: Fail also for what only free-threaded builds can do, which otherwise is
            a warning.
        allow_inconclusive: Skip, and say why, when something was not under control. By default
            that is a failure: such a run proves nothing.
    """
    if not isinstance(handler, str):
        raise TypeError('name the handler: @stress_test("app.handler")')
    given = {"budget_s": budget_s, "schedules": schedules, "preemptions": preemptions, "seed": seed}
    options: dict[str, Any] = {
        "concurrency": concurrency,
        "mode": mode,
        "granularity": granularity,
        "backend": backend,
        "include": tuple(include),
        "cancel": cancel,
        "mark": mark,
        "ignore": frozenset(ignore),
        **{name: value for name, value in given.items() if value is not None},
    }

    def decorate(body: Body) -> Body:
        if inspect.iscoroutinefunction(body):
            raise TypeError(
                f"{body.__name__} is called after every run, outside of any event loop: write it "
                "as a plain function. The handler itself may be async."
            )
        signature = inspect.signature(body)
        declaration = Declared(
            handler,
            events,
            body,
            MODULE in signature.parameters,
            options,
            None if task_root is None else Path(task_root),
            fail_on_warning,
            allow_inconclusive,
        )
        return _standing_in(body, signature, declaration)

    return decorate


def reproduce_failure(token: str) -> Callable[[Body], Body]:
    """
    Run only the schedule of a token, in the test that failed with it.

    For `stress_test` and for tests that use the fixture `explore`. Take it away when the bug is
    mended: a schedule that holds proves nothing about the others, so the test then fails.
    """
    if not isinstance(token, str):
        raise TypeError('give the token: @reproduce_failure("lmi1...")')

    def decorate(body: Body) -> Body:
        setattr(body, _TOKEN, token)
        return body

    return decorate


def declared(function: Any) -> Declared | None:
    """What `stress_test` said of a test."""
    return getattr(function, _DECLARED, None)


def token_of(function: Any) -> str | None:
    """What `reproduce_failure` said of a test."""
    return getattr(function, _TOKEN, None)


def _standing_in(body: Body, signature: inspect.Signature, declaration: Declared) -> Body:
    """What pytest collects: it asks for the fixtures of the body, and not for the module."""

    @functools.wraps(body)
    def test(*_arguments: Any, **_keywords: Any) -> None:
        raise RuntimeError(
            "lmi_runtime's pytest plugin is not loaded: add -p lmi_runtime.pytest_plugin"
        )

    fixtures = [each for each in signature.parameters.values() if each.name != MODULE]
    test.__signature__ = signature.replace(parameters=fixtures)  # type: ignore[attr-defined]
    setattr(test, _DECLARED, declaration)
    return test  # type: ignore[return-value]
