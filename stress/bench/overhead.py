"""
What context, decorator and dispatch cost an invocation, over a bare ``await handler(event)``.

The Runtime API is replaced by one in memory, so that neither HTTP nor the kernel is measured;
the bare loop makes the same invocations, decodes the same events and yields to the loop as often.
Both run in turn in one process, and the difference is CPU time.

    python -m stress.bench.overhead [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time

from lmi_runtime.dispatch import Dispatcher, DispatchOptions
from lmi_runtime.handlers import Target, handler, make_entry, spec_of
from lmi_runtime.model import Failure, Invocation, PostResult, PostVerdict, Success
from lmi_runtime.supervisor import SharedLedger

EVENT = b'{"user": "u-1", "items": [1, 2, 3], "locale": "en"}'


async def bare_handler(event: dict[str, object], context: object) -> dict[str, object]:
    return {"ok": True, "user": event["user"]}


handled = handler(bare_handler)


class Api:
    """Delivers `count` invocations as fast as they are taken."""

    def __init__(self, count: int) -> None:
        self.done = asyncio.Event()
        self._left = count
        self._open = count

    async def next(self) -> Invocation:
        if not self._left:
            await asyncio.Event().wait()
        self._left -= 1
        await asyncio.sleep(0)
        return invocation()

    async def respond(self, invocation: Invocation, success: Success) -> PostResult:
        await asyncio.sleep(0)
        self._open -= 1
        if not self._open:
            self.done.set()
        return PostResult(PostVerdict.ACCEPTED)

    async def fail(self, invocation: Invocation, failure: Failure) -> PostResult:
        raise AssertionError(failure)

    def stopping(self) -> None:
        pass


def invocation() -> Invocation:
    return Invocation(
        request_id="7f1f5b3e-0000-4000-8000-000000000000",
        invocation_id="a0a0a0a0-0000-4000-8000-000000000000",
        body=EVENT,
        deadline_ms=1,
        deadline_s=time.monotonic() + 60,
        trace_id="Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1",
    )


async def through_the_runtime(count: int) -> float:
    """CPU microseconds an invocation."""
    api = Api(count)
    spec = spec_of(handled)
    assert spec is not None
    dispatcher = Dispatcher(
        api,  # type: ignore[arg-type] # streams nothing
        make_entry(Target("overhead.handled", handled, spec)),
        DispatchOptions(limit=16),
        ledger=SharedLedger(64),
    )
    running = asyncio.create_task(dispatcher.run())
    await asyncio.sleep(0)
    start_s = time.process_time()
    await api.done.wait()
    spent_s = time.process_time() - start_s
    await dispatcher.drain(1.0)
    await running
    return spent_s / count * 1e6


async def bare(count: int) -> float:
    """CPU microseconds an invocation."""
    start_s = time.process_time()
    for _ in range(count):
        await asyncio.sleep(0)
        event = json.loads(invocation().body)
        json.dumps(await bare_handler(event, None)).encode()
        await asyncio.sleep(0)
    return (time.process_time() - start_s) / count * 1e6


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--count", type=int, default=20_000, help="invocations a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    ours, theirs = [], []
    for _ in range(arguments.rounds):
        ours.append(asyncio.run(through_the_runtime(arguments.count)))
        theirs.append(asyncio.run(bare(arguments.count)))
    report = {
        "python": sys.version.split()[0],
        "runtime_us": round(statistics.median(ours), 1),
        "bare_us": round(statistics.median(theirs), 1),
        "overhead_us": round(
            statistics.median(a - b for a, b in zip(ours, theirs, strict=True)), 1
        ),
    }
    print(json.dumps(report) if arguments.json else _table(report))
    return 0


def _table(report: dict[str, object]) -> str:
    return (
        f"CPU an invocation, Python {report['python']}: {report['runtime_us']} us through the "
        f"runtime, {report['bare_us']} us bare; {report['overhead_us']} us for context, "
        "decorator and dispatch"
    )


if __name__ == "__main__":
    sys.exit(main())
