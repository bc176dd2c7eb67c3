"""Programs of tasks, and shortcuts to run them."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

from lmi_runtime.stress.callables import CallableProgram
from lmi_runtime.stress.control import controlled, execute
from lmi_runtime.stress.exploring import search_under_control
from lmi_runtime.stress.model import Schedule
from lmi_runtime.stress.program import Execution, RunOptions
from lmi_runtime.stress.search import SearchResult, SearchSettings
from lmi_runtime.stress.search.chooser import Scripted
from tests.unit.stress.budgets import AMPLE_S

__all__ = ["State", "program", "run_once", "search_all"]

State = types.SimpleNamespace
Calls = Callable[[Any], Sequence[Callable[[], Any]]]


def program(
    calls: Calls,
    invariant: Callable[[Any], Any] | None = None,
    setup: Callable[[], Any] = State,
) -> CallableProgram:
    """What `explore` would make of it."""
    return CallableProgram(setup, calls, invariant, "program")


def run_once(
    calls: Calls,
    schedule: Schedule = (),
    setup: Callable[[], Any] = State,
    **options: Any,
) -> tuple[Any, Execution]:
    """The state and the run."""
    states: list[Any] = []

    def keep() -> Any:
        states.append(setup())
        return states[-1]

    with controlled():
        execution = execute(program(calls, None, keep), Scripted(schedule), RunOptions(**options))
    return states[-1], execution


def search_all(
    calls: Calls,
    invariant: Callable[[Any], Any] | None = None,
    setup: Callable[[], Any] = State,
    bound: int = 2,
    schedules: int = 1500,
    **options: Any,
) -> SearchResult:
    """Every schedule up to `bound`, or until something is found."""
    settings = SearchSettings(
        budget_s=AMPLE_S,
        max_schedules=schedules,
        max_bound=bound,
        stop_at="any",
        options=RunOptions(**options),
    )
    return search_under_control(program(calls, invariant, setup), settings)
