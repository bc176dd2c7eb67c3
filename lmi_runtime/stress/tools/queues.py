"""Places in a row, for threads and tasks alike."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from lmi_runtime import _sync

__all__ = ["TIMEOUT_S", "Queue", "TurnNeverCame"]

TIMEOUT_S = 20.0  # only what hangs takes so long, and test machines stand still for seconds


class TurnNeverCame(AssertionError):
    """The order that a test asks for did not come about; says who was waited for, and where."""


class Queue:
    """
    Places in a row: who has one waits until the queue has come that far.

    Args:
        first: The place that may go on at once.
        timeout_s: How long nothing may happen.
        missing: Says what did not happen, when the queue stays at a place.

    Thread safety: any thread, any task of any event loop.
    """

    def __init__(self, first: int, timeout_s: float, missing: Callable[[int], str]) -> None:
        self._timeout_s = timeout_s
        self._missing = missing
        self._moved = _sync.Condition()
        self._at = first  # guarded by _moved
        self._broken = ""  # guarded by _moved; why nobody can go on
        self._wake: list[Callable[[], None]] = []  # guarded by _moved; tasks that wait

    @property
    def at(self) -> int:
        """The place that may go on; all before it have."""
        with self._moved:
            return self._at

    def move_to(self, place: int) -> None:
        """Let `place` go on."""
        self._change(place=place)

    def break_off(self, why: str) -> None:
        """Whoever waits, or comes to wait, gets the first reason there was."""
        self._change(why=why)

    def _change(self, place: int | None = None, why: str = "") -> None:
        with self._moved:
            self._at = self._at if place is None else place
            self._broken = self._broken or why
            self._moved.notify_all()
            wake, self._wake = self._wake, []
        for task in wake:
            # A loop that has ended has nobody left who waits.
            with contextlib.suppress(RuntimeError):
                task()

    def wait(self, place: int) -> None:
        """Block this thread; the time allowed begins anew whenever the queue moves."""
        with self._moved:
            moving = True
            while not self._may_pass_locked(place):
                if not moving:
                    break
                moving = self._moved.wait(self._timeout_s)
            else:
                return
        raise self._too_late()

    async def wait_async(self, place: int) -> None:
        """The same for a task."""
        import anyio

        native: Any = anyio.lowlevel.current_token().native_token
        call_soon = getattr(native, "call_soon_threadsafe", None) or native.run_sync_soon
        try:
            while True:
                moved = anyio.Event()
                with self._moved:
                    if self._may_pass_locked(place):
                        return
                    self._wake.append(lambda moved=moved: call_soon(moved.set))  # type: ignore[misc]
                with anyio.move_on_after(self._timeout_s):
                    await moved.wait()
                if not moved.is_set():
                    raise self._too_late()
        except anyio.get_cancelled_exc_class():
            self.break_off("a task was cancelled while it waited for its turn")
            raise

    def _may_pass_locked(self, place: int) -> bool:
        if self._broken:
            raise TurnNeverCame(self._broken)
        return place <= self._at

    def _too_late(self) -> TurnNeverCame:
        why = f"{self._missing(self.at)} within {self._timeout_s:g} s"
        self.break_off(why)
        return TurnNeverCame(why)
