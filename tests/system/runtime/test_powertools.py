"""Functions with powertools, as they are, under the runtime: nobody calls `make_safe`."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.system.runtime.environments import Embedded, Runtime

pytestmark = pytest.mark.system

Make = Callable[..., Runtime]
Start = Callable[..., Any]

TOGETHER = 8
ROUNDS = 3


def all_at_once(runtime: Runtime) -> dict[str, int]:
    """Call in rounds of so many as meet in the handler; how much each caller ordered."""
    orders = {str(uuid.uuid4()): number for number in range(1, TOGETHER * ROUNDS + 1)}

    def call(item: tuple[str, int]) -> None:
        caller, count = item
        reply = runtime.call({"caller": caller, "orders": count}, request_id=caller)
        assert reply.error_type is None

    with ThreadPoolExecutor(TOGETHER) as callers:
        list(callers.map(call, orders.items()))
    for caller in orders:
        runtime.wait_for(message="served", caller=caller)
        runtime.wait_for(lambda record: "_aws" in record, caller=caller)
    return orders


@pytest.mark.parametrize("handler", ["powertools_tasks.main", "powertools_threads.main"])
def test_logs_and_metrics_are_each_requests_own(kind: Make, start: Start, handler: str) -> None:
    runtime = start(kind, handler, slots=TOGETHER, env={"TOGETHER": str(TOGETHER)}, ready=TOGETHER)

    orders = all_at_once(runtime)

    lines = runtime.records(message="served")
    assert {line["caller"] for line in lines} == set(orders)
    for line in lines:
        assert line["function_request_id"] == line["correlation_id"] == line["caller"]
    assert [line["cold_start"] for line in lines].count(True) == 1
    blobs = [record for record in runtime.records() if "_aws" in record]
    assert {blob["caller"]: blob["orders"] for blob in blobs} == {
        caller: [float(count)] for caller, count in orders.items()
    }
    assert len(blobs) == len(orders)


def test_it_can_be_turned_off(start: Start) -> None:
    """Then powertools does as it does: one set of keys for all."""
    runtime = start(
        Embedded,
        "powertools_threads.main",
        slots=TOGETHER,
        env={"TOGETHER": str(TOGETHER), "LMI_MAKE_SAFE": "0"},
        ready=TOGETHER,
    )

    with ThreadPoolExecutor(TOGETHER) as callers:
        replies = callers.map(
            lambda number: runtime.call({"caller": str(number), "orders": 1}), range(TOGETHER)
        )
        assert len(list(replies)) == TOGETHER

    runtime.wait_for(message="served")
    lines = runtime.records(message="served")
    assert len({line["caller"] for line in lines}) < TOGETHER
