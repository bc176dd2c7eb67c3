"""The load generator: what it counts, and when it stops."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.emulator import Emulator, EmulatorOptions, LoadOptions, LoadProgress, run_load
from lmi_runtime.emulator.histogram import LatencyHistogram
from tests.support.patience import PATIENCE_S
from tests.unit.emulator.runtime_client import Client

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def runtime(emulator: Emulator, polls: int) -> AsyncIterator[list[bytes]]:
    """A runtime with *polls* connections that keeps the events it has served."""
    events: list[bytes] = []

    async def serve() -> None:
        async with Client(emulator.runtime_api) as client:
            while True:
                await client.poll()
                event = await client.receive()
                if event is None:
                    return
                events.append(event.body)
                what = "error" if event.body == b"fail" else "response"
                head = {"Lambda_Runtime_Function_Error_Type": "Function.Oops"}
                await client.post(what, event, **head)
                await client.receive()

    tasks = [asyncio.create_task(serve()) for _ in range(polls)]
    await emulator.wait_ready(polls=polls)
    try:
        yield events
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_exactly_the_requested_calls_are_made_and_measured() -> None:
    async with Emulator() as emulator, runtime(emulator, 4) as events:
        options = LoadOptions(
            concurrency=2, requests=50, warmup_requests=5, event=lambda n: b"%d" % n
        )
        report = await run_load(emulator.url, options)

    assert sorted(map(int, events)) == list(range(55))
    assert (report.requests, report.ok, report.refused, report.failed) == (50, 50, 0, 0)
    assert 0 < report.p50_ms <= report.p95_ms <= report.p99_ms <= report.max_ms
    assert report.throughput_rps == pytest.approx(50 / report.elapsed_s)


async def test_load_for_a_time_ends_with_every_call_answered() -> None:
    async with Emulator() as emulator, runtime(emulator, 4):
        options = LoadOptions(concurrency=2, duration_s=0.1, drain_s=PATIENCE_S)
        report = await run_load(emulator.url, options)
        now = emulator.statistics()

    assert report.requests == report.ok == now.succeeded > 0
    assert report.elapsed_s < PATIENCE_S


async def test_errors_are_counted_by_type() -> None:
    async with Emulator() as emulator, runtime(emulator, 4):
        options = LoadOptions(requests=10, event=lambda n: b"fail" if n % 2 else b"{}")
        report = await run_load(emulator.url, options)

    assert (report.ok, dict(report.failures)) == (5, {"Function.Oops": 5})


@pytest.mark.parametrize("status", [400, 429])
async def test_refusals_are_no_failures(status: int) -> None:
    options = EmulatorOptions(throttle_status=status)
    async with Emulator(options) as emulator, Client(emulator.runtime_api) as client:
        await client.poll()
        await emulator.wait_ready()
        running = asyncio.create_task(emulator.invoke(b"{}"))
        await client.receive()
        report = await run_load(emulator.url, LoadOptions(requests=10))
        running.cancel()

    assert (report.refused, report.failed, report.ok) == (10, 0, 0)


async def test_answer_that_does_not_come_is_a_failure() -> None:
    async with Emulator() as emulator, Client(emulator.runtime_api) as client:
        await client.poll()
        await emulator.wait_ready()
        options = LoadOptions(requests=1, drain_s=0.0, progress_every_s=0.01)
        report = await run_load(emulator.url, options)

    assert dict(report.failures) == {"NoAnswer": 1}


async def test_environment_that_goes_away_ends_the_load() -> None:
    async with Emulator() as emulator:
        load = asyncio.create_task(
            run_load(emulator.url, LoadOptions(concurrency=2, duration_s=30.0))
        )
        await emulator.wait_until(lambda now: now.queued == 2)
        await emulator.close()
        report = await load

    assert report.ok == 0
    assert report.failed >= 2


async def test_progress_ends_complete() -> None:
    seen: list[LoadProgress] = []
    async with Emulator() as emulator, runtime(emulator, 2):
        options = LoadOptions(requests=20, progress_every_s=0.001)
        await run_load(emulator.url, options, seen.append)

    assert seen[-1].ok == 20
    assert seen[-1].share == 1.0
    assert [p.ok for p in seen] == sorted(p.ok for p in seen)


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1:1/", "http://example.com:80/", "http://127.0.0.1/"]
)
async def test_load_is_sent_to_loopback_only(url: str) -> None:
    with pytest.raises(ValueError, match=r"127\.0\.0\.1"):
        await run_load(url, LoadOptions(requests=1))


@pytest.mark.parametrize(
    "wrong", [{}, {"requests": 1, "duration_s": 1.0}, {"requests": 1, "concurrency": 0}]
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"give either|at least 1"):
        LoadOptions(**wrong)  # type: ignore[arg-type]


@given(
    st.lists(st.floats(min_value=2e-6, max_value=9e3), min_size=1),
    st.floats(min_value=0, max_value=1),
)
def test_quantile_is_right_to_one_percent(durations: list[float], share: float) -> None:
    histogram = LatencyHistogram()
    for duration in durations:
        histogram.record(duration)
    ordered = sorted(durations)
    exact = ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    assert histogram.quantile_s(share) == pytest.approx(exact, rel=0.0101)
    assert histogram.quantile_s(1.0) == histogram.max_s == max(durations)
    assert histogram.count == len(durations)


def test_empty_histogram_is_all_zero() -> None:
    histogram = LatencyHistogram()

    assert (histogram.quantile_s(0.5), histogram.mean_s, histogram.max_s) == (0.0, 0.0, 0.0)


def test_quantile_beyond_one_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        LatencyHistogram().quantile_s(50)
