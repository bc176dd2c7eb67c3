"""What every second level does."""

from __future__ import annotations

import os

import anyio
import pytest

from lmi_runtime import _sync
from tests.contract.second_level.conftest import Asked, Time
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.anyio


async def test_what_was_never_set_is_not_there(asked: Asked) -> None:
    assert await asked.get("k") is None


async def test_bytes_come_back_as_they_were(asked: Asked) -> None:
    value = bytes(range(256)) + os.urandom(10_000)

    await asked.set("k", value)

    assert await asked.get("k") == value
    assert await asked.get("K") is None


async def test_nothing_is_something(asked: Asked) -> None:
    await asked.set("k", b"")

    assert await asked.get("k") == b""


async def test_the_last_value_counts(asked: Asked, time: Time) -> None:
    await asked.set("k", b"1")
    time.now_s += 1
    await asked.set("k", b"2")

    assert await asked.get("k") == b"2"


async def test_a_deleted_key_is_gone(asked: Asked) -> None:
    await asked.set("k", b"v")
    await asked.set("other", b"v")

    await asked.delete("k")
    await asked.delete("k")

    assert await asked.get("k") is None
    assert await asked.get("other") == b"v"


async def test_a_key_can_be_set_again(asked: Asked) -> None:
    await asked.set("k", b"v")
    await asked.delete("k")
    await asked.set("k", b"w")

    assert await asked.get("k") == b"w"


async def test_a_value_is_there_until_it_expires(asked: Asked, time: Time) -> None:
    await asked.set("k", b"v", 100.0)
    time.now_s += 99
    assert await asked.get("k") == b"v"

    await asked.set("soon", b"v", 0.05)
    time.now_s += 2
    until_s = _sync.monotonic() + PATIENCE_S
    while await asked.get("soon") is not None:
        assert _sync.monotonic() < until_s
        await anyio.sleep(0.01)


async def test_no_expiry_replaces_an_expiry(asked: Asked, time: Time) -> None:
    await asked.set("k", b"v", 0.05)
    await asked.set("k", b"w")
    time.now_s += 1000
    await anyio.sleep(0.06)

    assert await asked.get("k") == b"w"


async def test_keys_are_any_text(asked: Asked) -> None:
    key = "ü / \n # * " + "k" * 500

    await asked.set(key, b"v")

    assert await asked.get(key) == b"v"


async def test_many_at_once(asked: Asked) -> None:
    async def both(number: int) -> None:
        await asked.set(f"k{number}", b"%d" % number)
        assert await asked.get(f"k{number}") == b"%d" % number

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(both, number)
