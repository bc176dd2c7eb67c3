"""Handlers that share connections and results through this package are found to be sound."""

from __future__ import annotations

from pathlib import Path

import pytest

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


@pytest.mark.parametrize("code", [THREADS, TASKS], ids=["threads", "tasks"])
def test_a_pool_and_a_cache_are_no_race(code: str, tmp_path: Path) -> None:
    """What outlives a request on purpose is no leak; a time-out is no moment like others."""
    (tmp_path / "shared_app.py").write_text(code)

    report = stress_handler(
        "shared_app.handle", [{}], StressOptions(budget_s=6.0), task_root=tmp_path
    )

    assert report.verdict is Verdict.PASSED, [each.sentence for each in report.findings]
