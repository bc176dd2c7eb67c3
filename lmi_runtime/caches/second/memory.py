"""A second level in the memory of this process, for tests of what is built on one."""

from __future__ import annotations

import math
from collections.abc import Callable

from lmi_runtime import _sync

__all__ = ["MemoryLevel"]


class MemoryLevel:
    """
    Keeps everything in a dictionary.

    Args:
        now: Where it reads the time; seconds.

    Thread safety: from any thread and any task.
    """

    def __init__(self, now: Callable[[], float] = _sync.monotonic) -> None:
        self._now = now
        self._kept: dict[str, tuple[bytes, float]] = {}  # single operations are atomic

    def get(self, key: str, /) -> bytes | None:
        """What was set for `key`, if it has not expired."""
        value, until_s = self._kept.get(key, (None, math.inf))
        return value if self._now() < until_s else None

    def set(self, key: str, value: bytes, ttl_s: float | None, /) -> None:
        """Keep `value` for `ttl_s` seconds."""
        self._kept[key] = (value, math.inf if ttl_s is None else self._now() + ttl_s)

    def delete(self, key: str, /) -> None:
        """Forget `key`."""
        self._kept.pop(key, None)

    async def aget(self, key: str, /) -> bytes | None:
        """`get`, which does not block."""
        return self.get(key)

    async def aset(self, key: str, value: bytes, ttl_s: float | None, /) -> None:
        """`set`, which does not block."""
        self.set(key, value, ttl_s)

    async def adelete(self, key: str, /) -> None:
        """`delete`, which does not block."""
        self.delete(key)
