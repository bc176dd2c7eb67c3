"""Those who ask for a flush while one runs share the next."""

from __future__ import annotations

import threading

import pytest

from lmi_runtime.integrations.opentelemetry.flushing import Flusher
from tests.support.patience import PATIENCE_S


def test_one_flush_for_all_who_came_during_the_one_before() -> None:
    first_runs, go_on = threading.Event(), threading.Event()
    flushes: list[float] = []

    def flush(timeout_s: float) -> None:
        flushes.append(timeout_s)
        if len(flushes) == 1:
            first_runs.set()
            assert go_on.wait(PATIENCE_S)

    flusher = Flusher(flush)
    leader = threading.Thread(target=flusher.flush, args=(10,))
    leader.start()
    assert first_runs.wait(PATIENCE_S)
    # All of these ask while the first flush runs, which may have passed their spans already.
    others = [threading.Thread(target=flusher.flush, args=(10,)) for _ in range(8)]
    entered = _entering(flusher, others)
    assert entered == 8
    go_on.set()
    for thread in [leader, *others]:
        thread.join(PATIENCE_S)
    assert len(flushes) == 2


def _entering(flusher: Flusher, threads: list[threading.Thread]) -> int:
    """Start them, and return when all of them wait for their turn; how many do."""
    turn = flusher._turn
    arrived = threading.Semaphore(0)

    class Turn:
        def acquire(self, timeout: float) -> bool:
            arrived.release()
            return turn.acquire(timeout=timeout)

        def release(self) -> None:
            turn.release()

    flusher._turn = Turn()  # type: ignore[assignment]
    for thread in threads:
        thread.start()
    return sum(arrived.acquire(timeout=PATIENCE_S) for _ in threads)


def test_without_time_nothing_is_waited_for() -> None:
    flusher = Flusher(lambda _: pytest.fail("no time for it"))
    with flusher._turn:
        flusher.flush(0.0)
        flusher.flush(-1.0)


def test_what_a_flush_raises_is_its_askers_and_the_next_one_flushes() -> None:
    flushes: list[float] = []

    def flush(timeout_s: float) -> None:
        flushes.append(timeout_s)
        if len(flushes) == 1:
            raise OSError("collector is gone")

    flusher = Flusher(flush)
    with pytest.raises(OSError, match="collector is gone"):
        flusher.flush(1)
    flusher.flush(1)
    assert len(flushes) == 2
