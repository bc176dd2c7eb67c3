"""Handlers that share connections and results through this package are found to be sound."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmi_runtime import Pool
from lmi_runtime.bootstrap.stressing import StressOptions, stress_handler
from lmi_runtime.stress.model import Verdict

pytestmark = pytest.mark.slow

THREADS = """
from lmi_runtime import Pool, cached, handler

class Connection:
    def query(self, sku):
        return len(sku)

pool = Pool(Connection, max_size=1)

@cached(ttl_s=60)
def price_of(sku):
    with pool.lease() as connection:
        return connection.query(sku)

@handler(concurrency="threads")
def handle(event, context):
    return {"price": price_of("tea")}
"""

TASKS = """
import asyncio
from lmi_runtime import Pool, cached, handler

class Connection:
    async def query(self, sku):
        await asyncio.sleep(0)
        return len(sku)

    async def close(self):
        pass

async def connect():
    await asyncio.sleep(0)
    return Connection()

pool = Pool(connect, max_size=1)

@cached(ttl_s=60)
async def price_of(sku):
    async with pool.lease() as connection:
        return await connection.query(sku)

@handler
async def handle(event, context):
    return {"price": await price_of("tea")}
"""


@pytest.fixture
def in_use() -> Iterator[Pool[object]]:
    """A pool of the process that explores: its thread was there before any run."""
    pool: Pool[object] = Pool(object, max_size=1)
    with pool.lease():
        pass
    assert "lmi_runtime pools" in {thread.name for thread in threading.enumerate()}
    yield pool
    pool.close()


# By the number of schedules: how many there is time for depends on who else uses the machine.
OPTIONS = StressOptions(schedules=150, budget_s=math.inf)


@pytest.mark.parametrize("code", [THREADS, TASKS], ids=["threads", "tasks"])
def test_a_pool_and_a_cache_are_no_race(code: str, tmp_path: Path, in_use: Pool[object]) -> None:
    """What outlives a request on purpose is no leak; a time-out is no moment like others."""
    (tmp_path / "shared_app.py").write_text(code)

    report = stress_handler("shared_app.handle", [{}], OPTIONS, task_root=tmp_path)

    assert report.verdict is Verdict.PASSED, (report.findings, report.coverage)
    with in_use.lease():  # as if nothing had been
        pass
