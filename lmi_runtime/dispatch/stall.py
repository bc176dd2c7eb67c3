"""A watchdog that names the code which blocks the event loop."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from lmi_runtime import _sync
from lmi_runtime.dispatch.slots import Slot
from lmi_runtime.dispatch.speech import say

__all__ = ["StallDetector", "StallWatchdog", "Verdict"]

logger = logging.getLogger("lmi_runtime.dispatch")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one look found: `stalled_s` seconds so far, and whether it is over."""

    stalled_s: float
    over: bool


class StallDetector:
    """
    Decides from answered and unanswered pings whether the loop is blocked; does nothing else.

    Thread safety: the watchdog's thread only.
    """

    def __init__(self, threshold_s: float) -> None:
        self._threshold_s = threshold_s
        self._asked_s: float | None = None
        self._reported = False

    def look(self, now_s: float, *, answered: bool) -> Verdict | None:
        """
        Look once, and count this moment as the next ping if the last was answered.

        Returns:
            A verdict when a stall is to be reported, once, and when a reported one is over.
        """
        asked_s = now_s if self._asked_s is None else self._asked_s
        if answered:
            self._asked_s = now_s
            was_reported, self._reported = self._reported, False
            return Verdict(now_s - asked_s, over=True) if was_reported else None
        self._asked_s = asked_s
        if self._reported or now_s - asked_s < self._threshold_s:
            return None
        self._reported = True
        return Verdict(now_s - asked_s, over=False)


class StallWatchdog:
    """
    A thread that pings the loop and logs where the loop thread is when no answer comes.

    Events that reach a blocked loop wait, unseen, until their callers time out: that is worth a
    line that says which request's code does it, and where.

    Thread safety: `start` on the loop thread; `stop` from any thread.
    """

    def __init__(
        self,
        call_soon_threadsafe: Callable[[Callable[[], None]], object],
        *,
        threshold_s: float = 1.0,
    ) -> None:
        """
        Args:
            call_soon_threadsafe: Runs a callback on the loop thread.
            threshold_s: Seconds without an answer that make a stall. Half of it passes between
                two pings.
        """
        self._ping = call_soon_threadsafe
        self._interval_s = threshold_s / 2
        self._detector = StallDetector(threshold_s)
        self._loop_thread = 0
        self._answered = _sync.Event()
        self._stopped = _sync.Event()

    def start(self) -> None:
        """Watch the loop of the calling thread."""
        self._loop_thread = _sync.current_thread_id()
        self._answered.set()
        _sync.spawn(self._watch, name="lmi-stall-watchdog")

    def stop(self) -> None:
        """Stop watching. Does not wait."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(self._interval_s):
            answered = self._answered.is_set()
            verdict = self._detector.look(_sync.monotonic(), answered=answered)
            if verdict is not None:
                self._report(verdict)
            if answered:
                self._answered.clear()
                try:
                    self._ping(self._answered.set)
                except RuntimeError:  # the loop was closed: nothing left to watch
                    return

    def _report(self, verdict: Verdict) -> None:
        if verdict.over:
            say(
                logger, logging.WARNING, "The event loop was blocked for %.1f s.", verdict.stalled_s
            )
            return
        frame = sys._current_frames().get(self._loop_thread)
        slot = slot_of(frame)
        stack = "".join(traceback.format_stack(frame)) if frame else "(no stack)\n"
        say(
            logger,
            logging.ERROR,
            "The event loop has been blocked for %.1f s: no other invocation of this worker can go "
            "on. Await instead of blocking, or use anyio.to_thread.run_sync. It is here:\n%s",
            verdict.stalled_s,
            stack,
            # Not this thread's request but the blocker's.
            extra={"blockedBy": slot.invocation.request_id} if slot else None,
        )


def slot_of(frame: FrameType | None) -> Slot | None:
    """The slot whose code a loop thread's stack is in, or None."""
    while frame is not None:
        if frame.f_code.co_name == "_serve_task":
            slot = frame.f_locals.get("slot")
            if isinstance(slot, Slot):
                return slot
        frame = frame.f_back
    return None
