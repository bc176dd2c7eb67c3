"""Sees in real time whether a run still moves, and gives up those that do not come back."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from types import CodeType, FrameType
from typing import TYPE_CHECKING

from lmi_runtime.stress.control import raw
from lmi_runtime.stress.control.active import lose
from lmi_runtime.stress.control.actors import Actor

if TYPE_CHECKING:
    from lmi_runtime.stress.control.scheduler import Scheduler

__all__ = ["LOOK_PAUSE_S", "Watchdog"]

LOOK_PAUSE_S = 0.05
"""Real seconds between two looks at a run."""

_GRACE_LOOKS = 10
"""So many looks a run that was told to end may take until somebody in it counts as lost, too."""

_LOOK_S = 0.06
"""So much counts between two looks at most, little more than `LOOK_PAUSE_S`: if it took longer,
the machine stood still, or had others to serve, and so had little time for those who run."""

_LONG = 5
"""So many times the patience a run may go on slowly, until it is asked what it does meanwhile."""

_SLOW_STEPS = 500
"""A run that takes fewer meanwhile is slow. Usually that many take some milliseconds."""

_IDLE = 0.1
"""It waits, if it had less of a processor than that; if it had more, it computes."""

_SLOW_SPANS = 6
"""After so many of these spans a run is given up, whatever it does."""


class Watchdog:
    """
    Names what has not given a sign of life, and ends the run without it.

    Args:
        patience_s: Real seconds without a sign of life.
        wants: Whether code is the user's.

    Thread safety: of the exploring thread.
    """

    def __init__(self, patience_s: float, wants: Callable[[CodeType], bool]) -> None:
        self._patience_s = patience_s
        self._wants = wants
        self._looked = raw.monotonic()
        self._steps = -1
        self._still_s = 0.0
        self._slow_spans = 0
        self._begin_span(0)

    def __call__(self, run: Scheduler) -> bool:
        """Look; True when the run was given up."""
        # Who sleeps again and again (`polls`) passes no point, and comes to its livelock in time.
        steps = run.points + run.progress + len(run.decisions) + run.polls
        now = raw.monotonic()
        passed_s, self._looked = min(now - self._looked, _LOOK_S), now
        if run.waits_outside:
            return False
        self._still_s = self._still_s + passed_s if steps == self._steps else 0.0
        self._steps = steps
        self._span_s += passed_s
        if self._still_s >= self._patience_s:
            why = f"has given no sign of life for {self._patience_s:g} s"
        elif self._span_s >= _LONG * self._patience_s and self._is_too_slow(steps):
            taken = steps - self._span_steps
            why = f"keeps the run waiting: it took only {taken} steps in {self._span_s:.3g} s"
        else:
            return False
        self._give_up(run, why)
        return True

    def _begin_span(self, steps: int) -> None:
        self._span_s = 0.0
        self._span_steps = steps
        self._span_cpu_s = raw.process_time()

    def _is_too_slow(self, steps: int) -> bool:
        """Judge a span that is over, and begin the next, unless it is."""
        if steps - self._span_steps >= _SLOW_STEPS:
            self._slow_spans = 0
        else:
            self._slow_spans += 1
            is_idle = raw.process_time() - self._span_cpu_s < _IDLE * self._span_s
            if is_idle or self._slow_spans >= _SLOW_SPANS:
                return True
        self._begin_span(steps)
        return False

    def _give_up(self, run: Scheduler, why: str) -> None:
        named = run.running
        if named is None:  # it is over by now
            return
        # Before it is told to end: if it comes back in time, the run was cut short all the same.
        self._name(run, named, why)
        run.aborting = True
        while True:
            actor = run.running
            if actor is None or _ends_soon(run):
                return
            if run.running is not actor:
                continue
            if actor is not named:
                self._name(run, actor, "does not end when it is told to")
            lose(actor.ident)
            run.end_without(actor)

    def _name(self, run: Scheduler, actor: Actor, why: str) -> None:
        run.uncontrolled.append(
            f"{actor.name} {why}: {_where(actor, self._wants)}. It waits for something outside, or "
            "computes for very long; its thread goes on until it comes back, and ends then."
        )


def _ends_soon(run: Scheduler) -> bool:
    """Counted in looks, not in seconds: nobody can end while the machine stands still."""
    return any(run.finished.acquire(timeout=LOOK_PAUSE_S) for _ in range(_GRACE_LOOKS))


def _where(actor: Actor, wants: Callable[[CodeType], bool]) -> str:
    """The user's line, and what it is in if that is somebody else's."""
    last = raw.current_frames().get(actor.ident)
    if last is None:
        return "its thread is gone"
    frame: FrameType | None = last
    while frame is not None and not wants(frame.f_code):
        frame = frame.f_back
    if frame is None:
        return f"last seen in {_place(last)}"
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    inside = "" if frame is last else f", inside {_place(last)}"
    return f"last seen in {_place(frame)} `{line}`{inside}"


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_qualname} at {frame.f_code.co_filename}:{frame.f_lineno}"
