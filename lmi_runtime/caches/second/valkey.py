"""Valkey or Redis as the second level."""

from __future__ import annotations

import math
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.errors import WrongKindOfCaller

__all__ = ["ValkeyLevel"]

_SHORTEST_MS = 1


class ValkeyLevel:
    """
    Values in Valkey or Redis, each with its expiry.

    Threads need a client that blocks; tasks use one of asyncio, or else the blocking one in a
    thread. Give the clients short time-outs (``socket_timeout``, ``socket_connect_timeout``) and
    no retries: what is not answered soon is loaded sooner.

    Args:
        client: ``valkey.Valkey``, ``redis.Redis``, a cluster client, or one of their asyncio
            kinds. It must not decode responses.
        aclient: A client of asyncio for tasks, beside a blocking `client`. It belongs to one
            event loop.
        prefix: What all keys begin with.

    Raises:
        ValueError: A client decodes responses: it would return text for bytes.

    Thread safety: from any thread and any task, as the clients are.
    """

    def __init__(self, client: Any, *, aclient: Any = None, prefix: str = "lmi:") -> None:
        for one in (client, aclient):
            if _decodes(one):
                raise ValueError("The client must not have decode_responses=True.")
        asynchronous = _is_async(client)
        self._client = None if asynchronous else client
        self._aclient = client if asynchronous else aclient
        self._prefix = prefix

    def get(self, key: str, /) -> bytes | None:
        """What was set for `key`, if it is there."""
        found: bytes | None = self._blocking().get(self._prefix + key)
        return found

    def set(self, key: str, value: bytes, ttl_s: float | None, /) -> None:
        """Keep `value`."""
        self._blocking().set(self._prefix + key, value, px=_milliseconds(ttl_s))

    def delete(self, key: str, /) -> None:
        """Forget `key`."""
        self._blocking().delete(self._prefix + key)

    async def aget(self, key: str, /) -> bytes | None:
        """What was set for `key`, if it is there."""
        if self._aclient is None:
            return await _sync.offload(lambda: self.get(key))
        found: bytes | None = await self._aclient.get(self._prefix + key)
        return found

    async def aset(self, key: str, value: bytes, ttl_s: float | None, /) -> None:
        """Keep `value`."""
        if self._aclient is None:
            await _sync.offload(lambda: self.set(key, value, ttl_s))
        else:
            await self._aclient.set(self._prefix + key, value, px=_milliseconds(ttl_s))

    async def adelete(self, key: str, /) -> None:
        """Forget `key`."""
        if self._aclient is None:
            await _sync.offload(lambda: self.delete(key))
        else:
            await self._aclient.delete(self._prefix + key)

    def _blocking(self) -> Any:
        if self._client is None:
            raise WrongKindOfCaller("A thread needs a client that blocks, not one of asyncio.")
        return self._client


def _milliseconds(ttl_s: float | None) -> int | None:
    return None if ttl_s is None else max(_SHORTEST_MS, math.ceil(ttl_s * 1000))


def _is_async(client: Any) -> bool:
    return any(".asyncio" in kind.__module__ for kind in type(client).__mro__)


def _decodes(client: Any) -> bool:
    pool = getattr(client, "connection_pool", None)
    settings = getattr(pool, "connection_kwargs", None) or {}
    return bool(settings.get("decode_responses"))
