"""The port behind which values outlive an environment."""

from __future__ import annotations

from typing import Protocol

__all__ = ["SecondLevel", "TooLarge"]


class TooLarge(ValueError):
    """The second level does not take values of this size. No sign that anything is wrong."""


class SecondLevel(Protocol):
    """
    A store that many environments share, such as Valkey or a table in DynamoDB.

    It is asked when a value is missing, before it is loaded, and told what was loaded. It may
    raise whatever it likes: that is counted and logged now and then, and the value is loaded. It
    is called without a time limit, so its client should have short ones, for connecting too.

    The functions that begin with ``a`` are for tasks. `BlockingLevel` makes them of the others.

    Thread safety: everything, from any thread and any task at once.
    """

    def get(self, key: str, /) -> bytes | None:
        """What was set for `key`, if it is there and has not expired."""
        ...

    def set(self, key: str, value: bytes, ttl_s: float | None, /) -> None:
        """
        Keep `value` for `ttl_s` seconds; None: for as long as there is room.

        Raises:
            TooLarge: It takes no value of this size.
        """
        ...

    def delete(self, key: str, /) -> None:
        """Forget `key`."""
        ...

    async def aget(self, key: str, /) -> bytes | None: ...

    async def aset(self, key: str, value: bytes, ttl_s: float | None, /) -> None: ...

    async def adelete(self, key: str, /) -> None: ...
