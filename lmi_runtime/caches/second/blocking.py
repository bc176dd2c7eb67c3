"""Second levels whose client blocks: tasks wait for them in threads."""

from __future__ import annotations

from abc import ABC, abstractmethod

from lmi_runtime import _sync

__all__ = ["BlockingLevel"]


class BlockingLevel(ABC):
    """
    Makes a `SecondLevel` of three functions that block; a task has them called in a thread.

    Thread safety: everything, from any thread and any task.
    """

    @abstractmethod
    def get(self, key: str, /) -> bytes | None:
        """What was set for `key`, if it is there and has not expired."""

    @abstractmethod
    def set(self, key: str, value: bytes, ttl_s: float | None, /) -> None:
        """Keep `value` for `ttl_s` seconds; None: for as long as there is room."""

    @abstractmethod
    def delete(self, key: str, /) -> None:
        """Forget `key`."""

    async def aget(self, key: str, /) -> bytes | None:
        """`get` in a thread."""
        return await _sync.offload(lambda: self.get(key))

    async def aset(self, key: str, value: bytes, ttl_s: float | None, /) -> None:
        """`set` in a thread."""
        await _sync.offload(lambda: self.set(key, value, ttl_s))

    async def adelete(self, key: str, /) -> None:
        """`delete` in a thread."""
        await _sync.offload(lambda: self.delete(key))
