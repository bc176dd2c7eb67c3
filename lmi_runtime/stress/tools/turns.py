"""Blocks that run in the order of their numbers."""

from __future__ import annotations

from lmi_runtime import _sync
from lmi_runtime.stress.tools.queues import TIMEOUT_S, Queue

__all__ = ["Sequencer"]


class Sequencer:
    """
    Blocks that run one after the other, by number, in whatever threads and tasks they are.

    ``with`` in a thread, ``async with`` in a task of asyncio or trio. Turns begin with 1 and
    leave none out; the next one begins when the block is left, also through an exception::

        turn = Sequencer()

        def reader():
            with turn(1):
                seen = stock["tea"]
            with turn(3):
                stock["tea"] = seen - 1

        def writer():
            with turn(2):
                stock["tea"] -= 1

    Args:
        timeout_s: How long, in real seconds, nothing may happen until those who wait give up;
            in a task by the clock of its loop.

    Raises:
        TurnNeverCame: In all who wait, when a turn was not taken in time, or was cancelled.
        RuntimeError: A turn was taken twice.

    Thread safety: any thread, any task of any event loop.
    """

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._queue = Queue(1, timeout_s, self._missing)
        self._lock = _sync.Lock()
        self._taken: set[int] = set()  # guarded by _lock

    def __call__(self, number: int) -> _Turn:
        """
        The turn of this number.

        Raises:
            ValueError: It is below 1.
        """
        if number < 1:
            raise ValueError(f"Turns begin with 1; there is no turn {number}.")
        return _Turn(self, number)

    def _missing(self, at: int) -> str:
        with self._lock:
            return f"turn {at} did not end" if at in self._taken else f"turn {at} never came"

    def _take(self, number: int) -> Queue:
        with self._lock:
            if number in self._taken:
                raise RuntimeError(f"Turn {number} was taken twice.")
            self._taken.add(number)
        return self._queue


class _Turn:
    """Thread safety: of the thread or task that takes it."""

    def __init__(self, sequencer: Sequencer, number: int) -> None:
        self._sequencer = sequencer
        self._number = number

    def __enter__(self) -> None:
        self._sequencer._take(self._number).wait(self._number)

    async def __aenter__(self) -> None:
        await self._sequencer._take(self._number).wait_async(self._number)

    def __exit__(self, *_error: object) -> None:
        self._sequencer._queue.move_to(self._number + 1)

    async def __aexit__(self, *_error: object) -> None:
        self.__exit__()
