"""Valkey and Redis as a second level: which clients do, and how long values stay."""

from __future__ import annotations

import pytest

from lmi_runtime.caches.second import ValkeyLevel
from lmi_runtime.errors import WrongKindOfCaller
from tests.support.redis_server import RedisServer


def test_clients_that_decode_are_refused() -> None:
    redis = pytest.importorskip("redis")
    client = redis.Redis(decode_responses=True)

    with pytest.raises(ValueError, match="decode_responses"):
        ValkeyLevel(client)


def test_a_thread_needs_a_client_that_blocks() -> None:
    redis = pytest.importorskip("redis.asyncio")

    with pytest.raises(WrongKindOfCaller):
        ValkeyLevel(redis.Redis()).get("k")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_threads_and_tasks_each_with_their_client() -> None:
    redis, aredis = pytest.importorskip("redis"), pytest.importorskip("redis.asyncio")
    with RedisServer() as server:
        client, aclient = redis.from_url(server.url), aredis.from_url(server.url)
        level = ValkeyLevel(client, aclient=aclient, prefix="p:")
        level.set("k", b"v", 0.0001)
        await level.aset("k", b"v", 12.5)

        assert level.get("k") == await level.aget("k") == b"v"
        left_ms = server.command("PTTL", "p:k")
        assert isinstance(left_ms, int)
        assert 11_000 < left_ms <= 12_500
        client.close()
        await aclient.aclose()
