"""Every second level, each before something real."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from lmi_runtime.caches.second import DynamoDBLevel, MemoryLevel, SecondLevel, ValkeyLevel
from tests.support.moto_server import moto
from tests.support.redis_server import RedisServer, require_redis


class Time:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="session")
def server() -> Iterator[RedisServer]:
    require_redis()
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[Any]:
    """A client of a table that moto serves on loopback."""
    with moto() as url:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
            client = _dynamodb_client(url)
        client.create_table(
            TableName="cache",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield client
        client.close()


def _dynamodb_client(url: str) -> Any:
    """A client that asks nobody but `url`."""
    import boto3
    from botocore.config import Config

    settings = Config(connect_timeout=10, read_timeout=30)  # it may be a busy machine
    return boto3.session.Session().client(
        "dynamodb",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=settings,
    )


_KINDS = ("memory", "redis", "valkey", "dynamodb", "dynamodb-newer")
# A client of asyncio is for tasks.
_CASES = [(kind, face) for kind in _KINDS for face in ("threads", "tasks")]


@pytest.fixture(params=[*_CASES, ("redis-asyncio", "tasks")], ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A second level, and who asks it: each has functions for threads and for tasks."""
    which: tuple[str, str] = request.param
    return which


@pytest.fixture
def kind(case: tuple[str, str]) -> str:
    return case[0]


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def anyio_backend(kind: str) -> tuple[str, dict[str, Any]]:
    """Trio where the client is not one of asyncio: it is the less usual."""
    return ("asyncio" if kind == "redis-asyncio" else "trio"), {}


class Asked:
    """A second level, asked by threads or by tasks."""

    def __init__(self, level: SecondLevel, face: str) -> None:
        self.level = level
        self._tasks = face == "tasks"

    async def get(self, key: str) -> bytes | None:
        return await self.level.aget(key) if self._tasks else self.level.get(key)

    async def set(self, key: str, value: bytes, ttl_s: float | None = None) -> None:
        if self._tasks:
            await self.level.aset(key, value, ttl_s)
        else:
            self.level.set(key, value, ttl_s)

    async def delete(self, key: str) -> None:
        if self._tasks:
            await self.level.adelete(key)
        else:
            self.level.delete(key)


@pytest.fixture
async def asked(
    case: tuple[str, str], time: Time, request: pytest.FixtureRequest, anyio_backend: Any
) -> AsyncIterator[Asked]:
    """The level under test, empty as far as this test can see."""
    # Servers live longer than a test: each test has keys of its own.
    prefix = f"{request.node.name}:"
    async with AsyncExitStack() as stack:
        kind, face = case
        yield Asked(_level(kind, prefix, time, request.getfixturevalue, stack), face)


def _level(
    kind: str,
    prefix: str,
    time: Time,
    needs: Callable[[str], Any],
    stack: AsyncExitStack,
) -> SecondLevel:
    match kind:
        case "memory":
            return MemoryLevel(time)
        case "redis" | "valkey":
            module = pytest.importorskip(kind)
            client = module.from_url(needs("server").url)
            stack.callback(client.close)
            return ValkeyLevel(client, prefix=prefix)
        case "redis-asyncio":
            module = pytest.importorskip("redis.asyncio")
            aclient = module.from_url(needs("server").url)
            stack.push_async_callback(aclient.aclose)
            return ValkeyLevel(aclient, prefix=prefix)
    return DynamoDBLevel(
        needs("dynamodb"),
        "cache",
        prefix=prefix,
        consistent_read=True,
        only_newer=kind.endswith("newer"),
        now=time,
    )
