"""Spans leave the process before their invocation is over, however many end at once."""

from __future__ import annotations

from collections.abc import Callable

from lmi_runtime import _sync

__all__ = ["Flusher"]


class Flusher:
    """
    Flushes for whoever asks; those who ask while one flush runs share the next.

    Args:
        flush: Called with the seconds it may take, by one thread at a time.

    Thread safety: from any thread.
    """

    def __init__(self, flush: Callable[[float], object]) -> None:
        self._flush = flush
        self._turn = _sync.Lock()
        self._begun = 0  # guarded by _turn; read by anybody

    def flush(self, timeout_s: float) -> None:
        """
        Return when everything is out that had ended before the call, or after `timeout_s`.

        Raises:
            Exception: What `flush` raises, to whoever ran it.
        """
        # One that has begun by now may have passed our span; any later one has not.
        enough = self._begun + 1
        until_s = _sync.monotonic() + timeout_s
        if not self._turn.acquire(timeout=max(0.0, timeout_s)):
            return
        try:
            if self._begun >= enough:
                return
            self._begun += 1
            self._flush(max(0.0, until_s - _sync.monotonic()))
        finally:
            self._turn.release()
