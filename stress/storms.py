"""
Storms of cancellations over a pool: is a connection lost, or a reply given to the wrong request?

    python -m stress.storms [--storms 100] [--json] [--real]

A line for each kind of cancellation, event loop and connector: connections that cannot be borrowed
any more after a storm, and replies that were another request's. Both have to be 0, or it exits
with 1. Connections are fakes that remember what they were asked; ``--real`` is PostgreSQL on
loopback, through psycopg and asyncpg.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, get_args

import anyio
import anyio.lowlevel

from lmi_runtime.pools import Connector, Pool
from tests.support.storms import Ask, StormCounts, StormKind, storm

__all__ = ["Line", "fake_storms", "main", "one_storm"]

_SIZE = 3
_KINDS: tuple[StormKind, ...] = get_args(StormKind)
_LOOPS: dict[str, tuple[str, dict[str, Any]]] = {
    "asyncio": ("asyncio", {"use_uvloop": False}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


@dataclass(slots=True)
class Line:
    """
    All storms of one sort, summed up.

    Attributes:
        connector: Whose connections: ``threads``, ``tasks``, or a driver.
        loop: The event loop.
        kind: How requests were cancelled.
        storms: How many there were.
        served: Requests that got their answer.
        cancelled: Requests that were cancelled before.
        wrong: Requests that got the answer of another.
        errors: Requests that ended with an error.
        lost: Connections that could not be borrowed afterwards.
    """

    connector: str
    loop: str
    kind: str
    storms: int = 0
    served: int = 0
    cancelled: int = 0
    wrong: int = 0
    errors: int = 0
    lost: int = 0

    def add(self, counts: StormCounts) -> None:
        """One storm more."""
        self.storms += 1
        self.served += counts.served
        self.cancelled += counts.cancelled
        self.wrong += counts.wrong
        self.errors += sum(counts.errors.values())
        self.lost += counts.lost

    @property
    def harmless(self) -> bool:
        """Nothing was lost, and nobody saw what was not for them."""
        return not (self.lost or self.wrong or self.errors)

    def __str__(self) -> str:
        return (
            f"{self.connector:<8} {self.loop:<8} {self.kind:<7} {self.storms:>4} storms  "
            f"{self.served:>6} served {self.cancelled:>6} cancelled  "
            f"{self.lost} lost  {self.wrong} wrong  {self.errors} errors"
        )


class Fake:
    """A connection: what was asked and not read yet is what the next one would read."""

    def __init__(self) -> None:
        self.replies: deque[int] = deque()


async def _ask(connection: Fake, number: int) -> int:
    connection.replies.append(number)
    await anyio.sleep(0.0005 * (number % 4))
    return connection.replies.popleft()


async def _open_in_task() -> Fake:
    await anyio.sleep(0.001)
    return Fake()


async def _step_in_task(connection: Fake) -> None:
    await anyio.lowlevel.checkpoint()
    connection.replies.clear()


def _connector(of: str) -> Connector[Fake]:
    if of == "threads":
        clear = lambda fake: fake.replies.clear()  # noqa: E731
        return Connector(open=Fake, close=clear, reset=clear)
    step = _step_in_task
    return Connector(open=_open_in_task, close=step, reset=step, asynchronous=True)


async def one_storm(
    connector: Connector[Any], ask: Ask[Any], kind: StormKind, seed: int, *, longest_s: float = 0.01
) -> StormCounts:
    """One storm over a pool of its own; every other one resets what was cancelled."""
    pool: Pool[Any] = Pool(
        connector, max_size=_SIZE, reset_after_cancel=bool(seed % 2), timeout_s=20.0
    )
    try:
        return await storm(
            pool.lease, ask, size=_SIZE, kind=kind, seed=seed, rounds=5, longest_s=longest_s
        )
    finally:
        await pool.aclose()


def fake_storms(storms: int, loops: Iterable[str] = tuple(_LOOPS)) -> Iterator[Line]:
    """Storms of each sort over connections to nowhere."""
    for of in ("threads", "tasks"):
        for loop in loops:
            for kind in _KINDS:
                if loop != "trio" or kind == "scopes":  # trio has no other way to cancel
                    yield _line(of, loop, kind, storms, _connector(of), _ask)


def _real_storms(storms: int) -> Iterator[Line]:
    from tests.support.postgres_drivers import DRIVERS
    from tests.support.postgres_server import PostgresServer

    with PostgresServer() as server:
        for name, driver in DRIVERS.items():
            for loop in ("asyncio", "uvloop"):
                for kind in _KINDS:
                    connector = driver.connector(server.dsn)
                    yield _line(name, loop, kind, storms, connector, driver.ask, longest_s=0.06)


def _line(
    of: str,
    loop: str,
    kind: StormKind,
    storms: int,
    connector: Connector[Any],
    ask: Ask[Any],
    *,
    longest_s: float = 0.01,
) -> Line:
    line = Line(of, loop, kind)
    backend, options = _LOOPS[loop]
    for seed in range(storms):
        run = partial(one_storm, connector, ask, kind, seed, longest_s=longest_s)
        line.add(anyio.run(run, backend=backend, backend_options=options))
    return line


def main(arguments: list[str] | None = None) -> int:
    """Print a line for each sort; 0 when all were harmless."""
    parser = argparse.ArgumentParser(prog="python -m stress.storms", description=__doc__)
    parser.add_argument("--storms", type=int, default=100, help="of each sort (100)")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--real", action="store_true", help="PostgreSQL instead of fakes")
    chosen = parser.parse_args(arguments)
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # it tells of each cancellation
    harmless = True
    for line in (_real_storms if chosen.real else fake_storms)(chosen.storms):
        print(json.dumps(asdict(line)) if chosen.json else line, flush=True)
        harmless = harmless and line.harmless
    return 0 if harmless else 1


if __name__ == "__main__":
    sys.exit(main())
