"""Any callables as a program: what `explore()` and the benchmark run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lmi_runtime.stress.program import Complaint, Ended, Participant
from lmi_runtime.stress.tracebacks import traceback_of

__all__ = ["CallableProgram"]


class CallableProgram:
    """
    State from a function, participants that share it, an invariant over it.

    Args:
        setup: Makes the state of one run.
        participants: From the state, those that run at once.
        invariant: Of the state when all have ended: False or an exception is a failure.
        name: What reports call it.

    Thread safety: of the exploring thread.
    """

    def __init__(
        self,
        setup: Callable[[], Any],
        participants: Callable[[Any], Sequence[Callable[[], Any]]],
        invariant: Callable[[Any], Any] | None,
        name: str,
    ) -> None:
        self._setup = setup
        self._participants = participants
        self._invariant = invariant
        self.name = name

    def setup(self) -> Any:
        """See `Program`."""
        return self._setup()

    def participants(self, state: Any) -> Sequence[Participant]:
        """See `Program`."""
        calls = self._participants(state)
        return [
            Participant(call, _name_of(call, number, calls)) for number, call in enumerate(calls, 1)
        ]

    def judge(self, state: Any, ended: Sequence[Ended], *, serial: bool) -> Sequence[Complaint]:
        """See `Program`."""
        complaints = [
            Complaint(
                "exception",
                f"participant {number} raised {type(end.error).__name__}: {end.error}",
                traceback=traceback_of(end.error),
                object_path=type(end.error).__name__,
            )
            for number, end in enumerate(ended, 1)
            if end.error is not None
        ]
        if not complaints and self._invariant is not None:
            complaints += _check(self._invariant, state)
        return complaints

    def close(self, state: Any) -> None:
        """See `Program`."""


def _check(invariant: Callable[[Any], Any], state: Any) -> list[Complaint]:
    name = getattr(invariant, "__name__", "invariant")
    try:
        holds = invariant(state)
    except Exception as error:
        what = str(error).strip().splitlines()
        said = f": {what[0]}" if what else ""
        return [
            Complaint(
                "invariant",
                f"{name} does not hold{said}",
                traceback=traceback_of(error),
                object_path=name,
            )
        ]
    if holds is False:
        return [Complaint("invariant", f"{name} does not hold", object_path=name)]
    return []


def _name_of(call: Callable[[], Any], number: int, calls: Sequence[Callable[[], Any]]) -> str:
    name = getattr(call, "__name__", "")
    names = [getattr(other, "__name__", "") for other in calls]
    if not name or name == "<lambda>" or names.count(name) > 1:
        plain = "participant" if not name or name == "<lambda>" else name
        return f"{plain} {number}"
    return name
