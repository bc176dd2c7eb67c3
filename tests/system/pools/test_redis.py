"""Clients of redis-py and valkey-py on our pool, against a real server that misbehaves."""

from __future__ import annotations

import asyncio
import importlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from pathlib import Path
from typing import Any

import pytest

from lmi_runtime import _sync, context
from lmi_runtime.context import Request
from lmi_runtime.errors import PoolClosed, PoolTimeout
from lmi_runtime.model import Invocation
from lmi_runtime.pools import ConnectionBudget
from lmi_runtime.pools.adapters.redis import async_connection_pool, connection_pool
from tests.support.counting_budget import CountingBudget
from tests.support.fault_proxy import FaultProxy
from tests.support.patience import PATIENCE_S
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.system

LIBRARIES = {"redis": "Redis", "valkey": "Valkey"}


@pytest.fixture(params=list(LIBRARIES))
def library(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    name: str = request.param
    return name


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer(max_clients=50) as running:
        yield running


@pytest.fixture
def client(library: str, server: RedisServer) -> Iterator[Any]:
    """A synchronous client whose pool holds one connection."""
    yield from clients(library, server.url, max_size=1)


def clients(library: str, url: str, **options: Any) -> Iterator[Any]:
    kind = getattr(importlib.import_module(library), LIBRARIES[library])
    client = kind(connection_pool=connection_pool(url, client=kind, **options))
    yield client
    client.connection_pool.close()


@asynccontextmanager
async def async_client(library: str, url: str, **options: Any) -> AsyncIterator[Any]:
    kind = getattr(importlib.import_module(f"{library}.asyncio"), LIBRARIES[library])
    client = kind(connection_pool=async_connection_pool(url, client=kind, **options))
    try:
        yield client
    finally:
        await client.connection_pool.aclose()


def errors_of(library: str) -> Any:
    return importlib.import_module(f"{library}.exceptions")


def in_thread(job: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=job)
    thread.start()
    return thread


def wait_for(condition: Callable[[], bool]) -> None:
    give_up_at = _sync.monotonic() + PATIENCE_S
    while not condition():
        assert _sync.monotonic() < give_up_at
        _sync.sleep(0.002)


async def wait_for_blocked(server: RedisServer, count: int) -> None:
    def blocked() -> bool:
        return f"blocked_clients:{count}" in str(server.command("INFO", "clients"))

    while not blocked():  # noqa: ASYNC110 - another process tells nobody
        await asyncio.sleep(0.002)
    # On 3.11, wait_for() around the write swallows a cancellation that meets its end.
    for _ in range(20):
        await asyncio.sleep(0)


# ------------------------------------------------------------------ what users do


def test_commands_pipelines_transactions_and_scripts(client: Any) -> None:
    client.set("a", 1)
    pipeline = client.pipeline()
    pipeline.incr("a").get("a")

    assert pipeline.execute() == [2, b"2"]
    assert client.pipeline(transaction=False).get("a").execute() == [b"2"]
    assert client.transaction(lambda pipe: (pipe.multi(), pipe.set("b", 5)), "a") == [True]
    assert client.eval("return ARGV[1]", 0, "x") == b"x"
    assert client.connection_pool.statistics().opened == 1


def test_messages_come_through_a_subscription_which_gives_its_connection_back(
    library: str, server: RedisServer
) -> None:
    found = clients(library, server.url, max_size=2)
    client = next(found)
    with client.pubsub() as subscription:
        subscription.subscribe("news")
        assert subscription.get_message(timeout=PATIENCE_S)["type"] == "subscribe"
        client.publish("news", "hello")
        assert subscription.get_message(timeout=PATIENCE_S)["data"] == b"hello"
    wait_for(lambda: server.connected() == client.connection_pool.statistics().open == 1)

    assert client.ping() is True
    assert client.connection_pool.statistics().lent == 0
    assert list(found) == []


def test_threads_share_as_many_connections_as_there_may_be(
    library: str, server: RedisServer
) -> None:
    for client in clients(library, server.url, max_size=2):
        wrong: list[object] = []

        def job(number: int, client: Any = client, wrong: list[object] = wrong) -> None:
            for turn in range(50):
                said = f"{number}/{turn}"
                if client.echo(said) != said.encode():
                    wrong.append(said)

        threads = [in_thread(lambda n=number: job(n)) for number in range(8)]  # type: ignore[misc]
        for thread in threads:
            thread.join(PATIENCE_S)

        assert wrong == []
        assert client.connection_pool.statistics().leases >= 400
        assert server.connections_ever() == 2


@pytest.mark.asyncio
async def test_tasks_share_as_many_connections_as_there_may_be(
    library: str, server: RedisServer
) -> None:
    async with async_client(library, server.url, max_size=2) as client:
        said = [f"{number}" for number in range(50)]

        assert await asyncio.gather(*map(client.echo, said)) == [s.encode() for s in said]
        assert server.connections_ever() == 2


@pytest.mark.asyncio
async def test_one_client_serves_several_loops(library: str, server: RedisServer) -> None:
    other = asyncio.new_event_loop()
    thread = in_thread(other.run_forever)
    async with async_client(library, server.url, max_size=2) as client:
        there = asyncio.run_coroutine_threadsafe(client.client_id(), other)

        assert await asyncio.wrap_future(there) != await client.client_id()
        assert client.connection_pool.statistics().open == 2
    other.call_soon_threadsafe(other.stop)
    thread.join(PATIENCE_S)
    other.close()


def test_a_closed_pool_lends_nothing(client: Any) -> None:
    client.ping()
    client.connection_pool.close()

    with pytest.raises(PoolClosed):
        client.ping()


# ------------------------------------------- nobody gets what was meant for another


@pytest.mark.asyncio
async def test_a_command_that_is_cancelled_takes_its_connection_with_it(
    library: str, server: RedisServer
) -> None:
    """The reply that comes later is for nobody: were it kept, the next borrower would read it."""
    async with async_client(library, server.url, max_size=1) as client:
        waiting = asyncio.create_task(client.blpop(["list"], timeout=0))
        await wait_for_blocked(server, 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        server.command("RPUSH", "list", "for another")

        assert await client.echo("mine") == b"mine"
        assert client.connection_pool.statistics().opened == 2


@pytest.mark.asyncio
async def test_cancelled_tasks_lose_no_connection(library: str, server: RedisServer) -> None:
    async with async_client(library, server.url, max_size=2) as client:
        for turn in range(20):
            tasks = [asyncio.create_task(client.echo(f"{turn}")) for _ in range(8)]
            for steps, task in enumerate(tasks):
                for _ in range(steps % 4):
                    await asyncio.sleep(0)
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        said = [f"{number}" for number in range(20)]
        assert await asyncio.gather(*map(client.echo, said)) == [s.encode() for s in said]
        assert client.connection_pool.statistics().lent == 0


def boom(response: object, **options: object) -> None:
    raise ValueError("the callback's")


def test_replies_left_unread_by_an_error_are_nobodys(client: Any) -> None:
    """A callback that fails on the first of two replies leaves the second one behind."""
    client.set_response_callback("ECHO", boom)
    with pytest.raises(ValueError, match="the callback's"):
        client.pipeline(transaction=False).echo("1").echo("2").execute()
    client.set_response_callback("ECHO", lambda response, **options: response)

    assert client.echo("mine") == b"mine"
    assert client.connection_pool.statistics().opened == 2


@pytest.mark.asyncio
async def test_replies_left_unread_by_an_error_are_no_tasks(
    library: str, server: RedisServer
) -> None:
    async with async_client(library, server.url, max_size=1) as client:
        client.set_response_callback("ECHO", boom)
        with pytest.raises(ValueError, match="the callback's"):
            await client.pipeline(transaction=False).echo("1").echo("2").execute()
        client.set_response_callback("ECHO", lambda response, **options: response)

        assert await client.echo("mine") == b"mine"
        assert client.connection_pool.statistics().opened == 2


def test_an_error_that_is_a_reply_costs_no_connection(client: Any, library: str) -> None:
    client.set("text", "x")
    with pytest.raises(errors_of(library).ResponseError):
        client.incr("text")
    try:
        os.environ["NOTHING"]
    except KeyError:
        client.ping()  # an older error that is being handled is no reason either

    assert client.connection_pool.statistics().opened == 1


def test_a_transaction_left_open_ends_with_its_lease(client: Any) -> None:
    client.execute_command("MULTI")

    assert client.echo("mine") == b"mine"
    assert client.connection_pool.statistics().opened == 1


def test_keys_left_watched_are_not_watched_any_more(client: Any, server: RedisServer) -> None:
    client.execute_command("WATCH", "key")
    server.command("SET", "key", "changed")
    pipeline = client.pipeline()

    assert pipeline.set("other", 1).execute() == [True]


@pytest.mark.asyncio
async def test_what_tasks_leave_open_ends_with_their_lease(
    library: str, server: RedisServer
) -> None:
    async with async_client(library, server.url, max_size=1) as client:
        await client.execute_command("WATCH", "key")
        server.command("SET", "key", "changed")
        assert await client.pipeline().set("other", 1).execute() == [True]
        await client.execute_command("MULTI")
        assert await client.echo("mine") == b"mine"
        assert client.connection_pool.statistics().opened == 1


def test_another_database_is_not_passed_on(client: Any) -> None:
    client.set("here", 1)
    client.execute_command("SELECT", 5)

    assert client.get("here") == b"1"


# ---------------------------------------------------------------- what servers do


def test_after_a_restart_of_the_server_commands_go_on(client: Any, server: RedisServer) -> None:
    client.ping()
    server.restart()

    assert client.ping() is True


def test_connections_that_the_server_killed_are_not_lent(client: Any, server: RedisServer) -> None:
    client.ping()
    assert server.kill_clients() == 1

    assert client.ping() is True
    assert client.connection_pool.statistics().closed_broken == 1


@pytest.mark.asyncio
async def test_connections_that_the_server_killed_are_lent_to_no_task(
    library: str, server: RedisServer
) -> None:
    async with async_client(library, server.url, max_size=1) as client:
        await client.ping()
        server.kill_clients()
        server.restart()
        await asyncio.sleep(0.01)  # the loop hears of it

        assert await client.ping() is True


def test_a_server_that_is_gone_is_told_of_and_costs_no_place(
    library: str, client: Any, server: RedisServer
) -> None:
    client.ping()
    server.stop()
    for _ in range(3):
        with pytest.raises(errors_of(library).ConnectionError):
            client.ping()
    server.start()

    wait_for(lambda: bool(suppressed(client.ping)))


def suppressed(job: Callable[[], object]) -> object:
    with suppress(Exception):
        return job()
    return None


def test_a_full_server_is_told_of_until_it_has_room(library: str) -> None:
    with RedisServer(max_clients=1) as server:
        first, second = clients(library, server.url), clients(library, server.url)
        guest, client = next(first), next(second)
        guest.ping()
        with pytest.raises(errors_of(library).ConnectionError):
            client.ping()
        assert list(first) == []  # leaves

        wait_for(lambda: bool(suppressed(client.ping)))
        assert list(second) == []


def test_a_wrong_password_is_told_of(library: str) -> None:
    with RedisServer(password="right") as server:
        found = clients(library, server.url.replace("right", "wrong"), max_size=1)
        client = next(found)
        for _ in range(2):
            with pytest.raises(errors_of(library).AuthenticationError):
                client.ping()
        assert client.connection_pool.statistics().open == 0
        assert list(found) == []


def test_a_half_open_connection_costs_one_timeout(library: str, server: RedisServer) -> None:
    with FaultProxy(server.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        for client in clients(library, url, max_size=1, socket_timeout=0.1):
            client.ping()
            proxy.stall()
            with pytest.raises(errors_of(library).TimeoutError):
                client.echo("lost")
            proxy.pass_on()

            assert client.echo("mine") == b"mine"
            assert client.connection_pool.statistics().opened == 2


# -------------------------------------------------------------- time, budgets, forks


def serving(seconds: float, job: Callable[[], object]) -> object:
    """Run `job` as a request that has so many seconds left."""
    invocation = Invocation(request_id="r", deadline_s=_sync.monotonic() + seconds)

    def body() -> object:
        context.enter(Request(invocation))
        return job()

    return Context().run(body)


def test_a_command_does_not_outlast_its_request(
    library: str, client: Any, server: RedisServer
) -> None:
    client.ping()  # connecting takes none of its time
    with pytest.raises(errors_of(library).TimeoutError):
        serving(0.5, lambda: client.blpop(["list"], timeout=0))

    server.command("RPUSH", "list", "for another")
    assert client.echo("mine") == b"mine"


def test_the_next_request_has_time_of_its_own(client: Any, server: RedisServer) -> None:
    serving(0.2, client.ping)
    later = threading.Timer(0.3, lambda: server.command("RPUSH", "list", "late"))
    later.start()

    assert client.blpop(["list"], timeout=4) == (b"list", b"late")
    assert client.connection_pool.statistics().opened == 1
    later.join(PATIENCE_S)


def test_a_connection_that_comes_back_has_its_own_time_again(client: Any) -> None:
    """Else a check of it would have as little as the last request had left."""
    serving(3, client.ping)
    lease = client.connection_pool.lender.lease()

    assert lease.acquire()._sock.gettimeout() == 5
    lease.release()


def test_what_outlives_its_request_has_no_deadline_of_it(client: Any) -> None:
    def outlive() -> object:
        context.current().end()
        client.ping()
        connection = client.connection_pool.get_connection()
        timeout_s = connection._sock.gettimeout()
        client.connection_pool.release(connection)
        return timeout_s

    assert serving(-1, outlive) == 5


def test_nobody_waits_for_a_connection_past_the_deadline(client: Any, server: RedisServer) -> None:
    with client.client() as kept:
        kept.ping()
        with pytest.raises(PoolTimeout):
            serving(0.05, client.ping)
    assert client.ping() is True


def test_each_connection_takes_a_permit(library: str, server: RedisServer) -> None:
    budget = CountingBudget()
    for client in clients(library, server.url, max_size=3, budget=budget):
        client.ping()
        with client.client() as kept:
            kept.ping()
            client.ping()
            assert (budget.taken, server.connected()) == (2, 2)

    budget.wait_taken(0)


def test_two_pools_share_the_only_connection_of_a_budget(
    library: str, server: RedisServer, tmp_path: Path
) -> None:
    """The one that does not need it gives way to the one that waits."""
    budget = ConnectionBudget(max_connections=1, environments=1, directory=tmp_path)
    first, second = (clients(library, server.url, budget=budget) for _ in range(2))
    one, other = next(first), next(second)
    for turn in range(3):
        assert one.echo(f"{turn}") == other.echo(f"{turn}")
        assert server.connected() <= 1
    assert [*first, *second] == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="not run: there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(client: Any, server: RedisServer) -> None:
    client.set("a", 1)
    parents = client.client_id()
    lease = client.connection_pool.lender.lease()
    inherited = lease.acquire()
    lease.release()
    child = os.fork()
    if child == 0:
        told = 1
        with suppress(BaseException):
            assert client.client_id() != parents
            assert client.get("a") == b"1"
            assert inherited._sock is None
            told = 0
        os._exit(told)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert client.client_id() == parents


# ------------------------------------------------------------------------ options


def test_options_that_cannot_be_kept_are_refused() -> None:
    with pytest.raises(TypeError, match="max_size"):
        connection_pool("redis://127.0.0.1", max_connections=3)
    with pytest.raises(ValueError, match="caching"):
        connection_pool("redis://127.0.0.1", protocol=3, cache_config=object())


def test_options_of_connections_reach_them(library: str, server: RedisServer) -> None:
    url = server.url.replace("redis://", f"{library}://")
    pool = connection_pool(url, decode_responses=True)
    client = getattr(importlib.import_module(library), LIBRARIES[library])(connection_pool=pool)

    assert client.echo("text") == "text"
    assert pool.connection_kwargs["port"] == server.port
    assert pool.connection_kwargs["socket_timeout"] == 5
    assert isinstance(pool, importlib.import_module(library).ConnectionPool)
    pool.close()
