"""The threads that run synchronous handlers."""

from __future__ import annotations

from collections.abc import Callable

from lmi_runtime import _sync

__all__ = ["HandlerThreads"]

Job = Callable[[], object]


class HandlerThreads:
    """
    As many threads as jobs have ever run at once, each running one at a time.

    The caller bounds that number: it starts no more jobs than it has admission tokens, and a
    thread that overran its deadline still holds one.

    Thread safety: loop thread only.
    """

    def __init__(self) -> None:
        self._jobs: _sync.SimpleQueue[Job | None] = _sync.SimpleQueue()
        self._threads = 0
        self._busy = 0

    def run(self, job: Job) -> None:
        """Run `job()`, which never raises, on a thread that is free, or on a new one."""
        if self._busy == self._threads:
            self._threads += 1
            _sync.spawn(self._work, name=f"lmi-handler-{self._threads}")
        self._busy += 1
        self._jobs.put(job)

    def left(self) -> None:
        """Note that one job has ended."""
        self._busy -= 1

    def close(self) -> None:
        """Let every thread end once it has nothing to do. Does not wait for them."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # it refers to the request just served; do not keep that while waiting
