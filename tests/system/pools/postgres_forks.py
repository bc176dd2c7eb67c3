"""
Forks under load, in a process of their own: ``python -m tests.system.pools.postgres_forks``.

Arguments: the kind of connections, how many forks, and the server's address. A child asks over
connections of its own. The first few end as Python ends, finalizers and all, which takes its time.
Prints what went wrong.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
from sqlalchemy import create_engine, text

from lmi_runtime.pools import Pool
from lmi_runtime.pools.adapters.psycopg import connector
from lmi_runtime.pools.adapters.sqlalchemy import LmiPool
from tests.support.patience import PATIENCE_S
from tests.support.postgres_drivers import DRIVERS

Ask = Callable[[int], tuple[int, int]]
"""Sends a number; returns the number that comes back, and from which backend."""

ASK = "SELECT cast(%s AS int), pg_backend_pid(), pg_sleep(0.002)"
"""It keeps a connection busy, and hardly a processor: the children need that."""

SIZE = 4
THREADS = 8
THOROUGH = 3


def by_psycopg(dsn: str) -> tuple[Ask, Callable[[], Any]]:
    pool: Pool[psycopg.Connection[Any]] = Pool(connector(dsn, autocommit=True), max_size=SIZE)

    def ask(number: int) -> tuple[int, int]:
        with pool.lease() as connection:
            row = connection.execute(ASK, [number]).fetchone()
        assert row is not None
        return row[0], row[1]

    return ask, pool.close


def by_sqlalchemy(dsn: str) -> tuple[Ask, Callable[[], Any]]:
    engine = create_engine(
        dsn.replace("postgresql", "postgresql+psycopg"), poolclass=LmiPool, pool_size=SIZE
    )

    def ask(number: int) -> tuple[int, int]:
        with engine.connect() as connection:
            query = text(ASK.replace("%s", ":number"))
            row = connection.execute(query, {"number": number}).one()
        return row[0], row[1]

    return ask, engine.dispose


KINDS = {"psycopg": by_psycopg, "sqlalchemy": by_sqlalchemy}


def main(kind: str, forks: int, dsn: str) -> int:
    """Fork while threads ask; how many things went wrong."""
    ask, close = KINDS[kind](dsn)
    numbers = itertools.count(1)
    backends: set[int] = set()
    wrong: list[str] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            number = next(numbers)
            try:
                answer, backend = ask(number)
            except Exception as error:
                wrong.append(f"parent: {error!r}")
                return
            backends.add(backend)
            if answer != number:
                wrong.append(f"parent: {answer} instead of {number}")

    # SQLAlchemy's engines cannot be forked in the middle of their very first connect.
    ask(0)
    threads = [threading.Thread(target=load) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for number in range(forks):
        body = partial(child, ask, close, number, set(backends))
        ended = wait_for_child(body, thorough=number < THOROUGH)
        if ended != 0:
            wrong.append(f"child {number} ended with {ended}")
    stop.set()
    for thread in threads:
        thread.join()
    close()
    if len(backends) > SIZE:
        wrong.append(f"the parent lost sessions: it had {sorted(backends)}")
    print(*wrong, sep="\n", end="")
    return len(wrong)


def child(ask: Ask, close: Callable[[], Any], number: int, parents: set[int]) -> int:
    """Ask from a few threads; what this process should end with."""
    seen: list[tuple[int, int]] = []
    threads = [threading.Thread(target=lambda: seen.append(ask(number))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    right = [answer == number and backend not in parents for answer, backend in seen]
    close()
    return 0 if right == [True] * 3 else 3


def wait_for_child(body: Callable[[], int], *, thorough: bool) -> int:
    """Run `body` in a child; how that ended. `thorough`: with all finalizers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        ended = 4
        try:
            ended = body()
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        if not thorough:
            os._exit(ended)
        gc.collect()
        raise SystemExit(ended)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def with_tasks(driver_name: str, forks: int, dsn: str) -> int:
    """The same from tasks: the child has an event loop of its own, while the parent's is busy."""
    driver = DRIVERS[driver_name]
    pool = Pool(driver.connector(dsn), max_size=SIZE)
    wrong: list[str] = []
    backends: set[int] = set()

    async def one(number: int) -> int:
        async with pool.lease() as connection:
            if await driver.ask(connection, number) != number:
                wrong.append(f"another number instead of {number}")
            return driver.backend(connection)

    async def several(number: int) -> set[int]:
        return {*await asyncio.gather(*(one(number + i) for i in range(THREADS)))}

    def in_child() -> int:
        async def body() -> set[int]:
            try:
                return await several(1_000_000)
            finally:
                await pool.aclose()

        asyncio.events._set_running_loop(None)
        own = asyncio.run(body())
        return 0 if own.isdisjoint(backends) and not wrong else 3

    async def parent() -> None:
        for number in range(forks):
            busy = asyncio.ensure_future(several(number * 100))
            await asyncio.sleep(0)  # all have asked for a connection, some wait for an answer
            backends.update(await several(number * 100 + 50))
            if (ended := wait_for_child(in_child, thorough=number < THOROUGH)) != 0:
                wrong.append(f"child {number} ended with {ended}")
            backends.update(await busy)
        await pool.aclose()

    asyncio.run(parent())
    if len(backends) > SIZE:
        wrong.append(f"the parent lost sessions: it had {sorted(backends)}")
    print(*wrong, sep="\n", end="")
    return len(wrong)


if __name__ == "__main__":
    what, count, address = sys.argv[1:]
    if what.startswith("tasks:"):
        sys.exit(with_tasks(what.removeprefix("tasks:"), int(count), address))
    sys.exit(main(what, int(count), address))
