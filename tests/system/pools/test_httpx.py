"""Clients of httpx and httpx2 on our transports, against a server that holds and hangs up."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import Context
from typing import Any

import anyio
import pytest

from lmi_runtime import _sync, context
from lmi_runtime.context import Request
from lmi_runtime.errors import PoolClosed, PoolOverloaded
from lmi_runtime.model import Invocation
from lmi_runtime.pools.adapters.httpx import async_transport, transport
from tests.support.counting_budget import CountingBudget
from tests.support.fault_proxy import FaultProxy
from tests.support.http_server import HttpServer
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.system


@pytest.fixture(params=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Any:
    return pytest.importorskip(request.param)


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as running:
        yield running


@contextmanager
def a_client(library: Any, **options: Any) -> Iterator[Any]:
    with library.Client(transport=transport(client=library.Client, **options)) as client:
        yield client


@asynccontextmanager
async def an_async_client(library: Any, **options: Any) -> AsyncIterator[Any]:
    made = async_transport(client=library.AsyncClient, **options)
    async with library.AsyncClient(transport=made) as client:
        yield client


def only_pool(client: Any) -> Any:
    (statistics,) = client._transport.statistics().values()
    return statistics


def run_together(jobs: list[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)


async def off_loop(job: Callable[[], None]) -> None:
    await anyio.to_thread.run_sync(job)


# ------------------------------------------------------------------ what users do


def test_threads_share_as_many_connections_as_there_may_be(
    library: Any, server: HttpServer
) -> None:
    with a_client(library, max_size=2) as client:
        answers: list[str] = []

        def job(number: int) -> None:
            answers.extend(client.get(f"{server.url}/echo/{number}-{n}").text for n in range(10))

        run_together([lambda n=number: job(n) for number in range(6)])  # type: ignore[misc]

        assert sorted(answers) == sorted(f"{m}-{n}" for m in range(6) for n in range(10))
        assert server.connections == 2
    server.wait_connected(0)


@pytest.mark.anyio
async def test_tasks_share_as_many_connections_as_there_may_be(
    library: Any, server: HttpServer, anyio_backend: object
) -> None:
    answers = []
    async with an_async_client(library, max_size=2) as client:

        async def job(number: int) -> None:
            answers.append((await client.get(f"{server.url}/echo/{number}")).text)

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(job, number)

        assert sorted(answers, key=int) == [str(number) for number in range(20)]
        assert server.connections == 2
    await off_loop(lambda: server.wait_connected(0))


def test_a_response_that_is_streamed_keeps_its_connection(library: Any, server: HttpServer) -> None:
    with a_client(library, max_size=2) as client:
        with client.stream("GET", f"{server.url}/echo/streamed") as response:
            assert client.get(f"{server.url}/echo/beside").text == "beside"
            assert only_pool(client).lent == 1
            assert response.read() == b"streamed"

        assert only_pool(client).lent == 0
        assert server.connections == 2


def test_a_response_that_nobody_read_takes_its_connection_with_it(
    library: Any, server: HttpServer
) -> None:
    with a_client(library, max_size=1) as client:
        with client.stream("GET", f"{server.url}/echo/{'unread' * 9}"):
            pass

        assert client.get(f"{server.url}/echo/mine").text == "mine"
        assert server.connections == 2


@pytest.mark.asyncio
async def test_a_response_that_no_task_read_takes_its_connection_with_it(
    library: Any, server: HttpServer
) -> None:
    async with an_async_client(library, max_size=1) as client:
        async with client.stream("GET", f"{server.url}/echo/{'unread' * 9}"):
            pass

        assert (await client.get(f"{server.url}/echo/mine")).text == "mine"
        assert server.connections == 2


@pytest.mark.asyncio
async def test_one_transport_serves_several_loops(library: Any, server: HttpServer) -> None:
    other = asyncio.new_event_loop()
    thread = threading.Thread(target=other.run_forever)
    thread.start()
    async with an_async_client(library, max_size=2) as client:
        there = asyncio.run_coroutine_threadsafe(client.get(f"{server.url}/echo/there"), other)

        assert (await asyncio.wrap_future(there)).text == "there"
        assert (await client.get(f"{server.url}/echo/here")).text == "here"
        assert server.connections == 2
    other.call_soon_threadsafe(other.stop)
    thread.join(PATIENCE_S)
    other.close()


def test_each_origin_has_connections_of_its_own(library: Any, server: HttpServer) -> None:
    with HttpServer() as second, a_client(library, max_size=1) as client:
        assert client.get(f"{server.url}/echo/1").text == "1"
        assert client.get(f"{second.url}/echo/2").text == "2"
        assert set(client._transport.statistics()) == {server.url, second.url}


def test_a_proxy_is_asked(library: Any, server: HttpServer) -> None:
    with a_client(library, proxy=server.url) as client:
        assert client.get("http://nowhere.invalid/echo/through").text == "through"


def test_a_closed_transport_sends_nothing(library: Any, server: HttpServer) -> None:
    made = transport(client=library.Client)
    client = library.Client(transport=made)
    client.get(f"{server.url}/echo/1")
    made.close()

    for url in (server.url, f"http://localhost:{server.port}"):
        with pytest.raises(PoolClosed):
            client.get(url)
    server.wait_connected(0)


def test_unknown_options_are_refused(library: Any) -> None:
    with pytest.raises(TypeError, match="http2"):
        transport(client=library.Client, http2=True)
    with pytest.raises(ValueError, match="socks5"):
        transport(client=library.Client, proxy=library.Proxy("socks5://127.0.0.1:1"))


# ------------------------------------------------------------------- cancellation


@pytest.mark.anyio
async def test_cancelled_requests_lose_no_connection(
    library: Any, server: HttpServer, anyio_backend: object
) -> None:
    """Requests are cancelled as they wait, connect, send and read; every place stays usable."""
    async with an_async_client(library, max_size=4) as client:
        await storm(client, f"{server.url}/echo/stormy", tasks=32, times=3)

        answers = [""] * 4

        async def job(number: int) -> None:
            answers[number] = (await client.get(f"{server.url}/echo/{number}")).text

        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(job, number)
        assert answers == ["0", "1", "2", "3"]
        assert only_pool(client).lent == 0
        assert only_pool(client).open <= 4


async def storm(client: Any, url: str, *, tasks: int, times: int) -> None:
    """Let tasks ask again and again, and cancel each after another number of the loop's turns."""
    turns = random.Random(0)

    async def worker() -> None:
        for _ in range(times):
            async with anyio.create_task_group() as group:
                group.start_soon(client.get, url)
                for _ in range(turns.randrange(60)):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for _ in range(tasks):
            group.start_soon(worker)


@pytest.mark.asyncio
async def test_cancelled_tasks_lose_no_connection(library: Any, server: HttpServer) -> None:
    """
    The same with `Task.cancel`, which cancels once, and not again and again as scopes do.

    This storm leaves the pool of httpcore 1.0.9 without a single usable place.
    """
    turns = random.Random(0)
    url = f"{server.url}/echo/stormy"
    async with an_async_client(library, max_size=4) as client:

        async def worker() -> None:
            for _ in range(6):
                task = asyncio.create_task(client.get(url))
                for _ in range(turns.randrange(60)):
                    await asyncio.sleep(0)
                if turns.random() < 0.3:
                    await asyncio.sleep(turns.random() * 0.01)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        await asyncio.gather(*(worker() for _ in range(64)))

        answers = await asyncio.gather(*(client.get(f"{server.url}/echo/{n}") for n in range(4)))
        assert [answer.text for answer in answers] == ["0", "1", "2", "3"]
        assert only_pool(client).lent == 0
        assert only_pool(client).open <= 4


@pytest.mark.asyncio
async def test_a_request_that_is_cancelled_takes_its_connection_with_it(
    library: Any, server: HttpServer
) -> None:
    """The answer that comes later is for nobody."""
    async with an_async_client(library, max_size=1) as client:
        held = asyncio.create_task(client.get(f"{server.url}/hold"))
        await off_loop(lambda: server.wait_holding(1))
        held.cancel()
        with pytest.raises(asyncio.CancelledError):
            await held
        server.let_go()

        assert (await client.get(f"{server.url}/echo/mine")).text == "mine"
        assert server.connections == 2


@pytest.mark.asyncio
async def test_who_gave_up_waiting_leaves_no_gap(library: Any, server: HttpServer) -> None:
    """A cancelled request at the head of the line does not swallow the connection."""
    async with an_async_client(library, max_size=1) as client:
        held = asyncio.create_task(client.get(f"{server.url}/hold"))
        await off_loop(lambda: server.wait_holding(1))
        waiting = [asyncio.create_task(client.get(f"{server.url}/echo/{n}")) for n in range(3)]
        while only_pool(client).waiting < 3:  # noqa: ASYNC110
            await asyncio.sleep(0)
        waiting[0].cancel()
        server.let_go()

        assert (await held).text == "held"
        assert [(await task).text for task in waiting[1:]] == ["1", "2"]


# ---------------------------------------------------------------- what servers do


def test_connections_that_the_server_cut_are_not_used(library: Any, server: HttpServer) -> None:
    with a_client(library, max_size=1) as client:
        client.get(f"{server.url}/echo/1")
        server.hang_up()
        server.wait_connected(0)
        assert client.get(f"{server.url}/bye/again").text == "again"
        server.wait_connected(0)
        assert client.get(f"{server.url}/echo/again").text == "again"


@pytest.mark.asyncio
async def test_connections_that_the_server_cut_are_used_by_no_task(
    library: Any, server: HttpServer
) -> None:
    async with an_async_client(library, max_size=1) as client:
        await client.get(f"{server.url}/echo/1")
        server.hang_up()
        await off_loop(lambda: server.wait_connected(0))
        assert (await client.get(f"{server.url}/bye/again")).text == "again"
        await off_loop(lambda: server.wait_connected(0))
        assert (await client.get(f"{server.url}/echo/again")).text == "again"


def test_nobody_there_is_told_in_the_librarys_words(library: Any) -> None:
    with HttpServer() as gone:
        url = gone.url
    with a_client(library, max_size=1) as client:
        for _ in range(3):
            with pytest.raises(library.ConnectError):
                client.get(url)
        assert only_pool(client).lent == 0


def test_a_half_open_connection_costs_one_timeout(library: Any, server: HttpServer) -> None:
    with FaultProxy(server.port) as proxy, a_client(library, max_size=1) as client:
        url = f"http://127.0.0.1:{proxy.port}/echo"
        client.get(f"{url}/1")
        proxy.stall()
        with pytest.raises(library.ReadTimeout):
            client.get(f"{url}/lost", timeout=0.1)
        proxy.pass_on()

        assert client.get(f"{url}/mine").text == "mine"


# -------------------------------------------------------------- time, budgets, forks


def serving(seconds: float, job: Callable[[], Any]) -> Any:
    """Run `job` as a request that has so many seconds left."""
    invocation = Invocation(request_id="r", deadline_s=_sync.monotonic() + seconds)

    def body() -> Any:
        context.enter(Request(invocation))
        return job()

    return Context().run(body)


def test_a_request_does_not_outlast_the_one_it_serves(library: Any, server: HttpServer) -> None:
    with a_client(library, max_size=1) as client:
        client.get(f"{server.url}/echo/1")  # connecting takes none of its time
        with pytest.raises(library.ReadTimeout):
            serving(0.5, lambda: client.get(f"{server.url}/hold", timeout=None))
        server.let_go()


def test_what_outlives_its_request_has_no_deadline_of_it(library: Any, server: HttpServer) -> None:
    def outlive() -> Any:
        context.current().end()
        return client.get(f"{server.url}/echo/1")

    with a_client(library, max_size=1) as client:
        assert serving(-1, outlive).is_success


def test_nobody_waits_for_a_connection_past_the_deadline(library: Any, server: HttpServer) -> None:
    with a_client(library, max_size=1) as client:
        client.get(f"{server.url}/echo/1")
        with client.stream("GET", f"{server.url}/echo/2"):
            with pytest.raises(library.PoolTimeout):
                serving(0.05, lambda: client.get(f"{server.url}/echo/3", timeout=None))
            with pytest.raises(library.PoolTimeout):
                client.get(f"{server.url}/echo/3", timeout=library.Timeout(PATIENCE_S, pool=0.01))


def test_a_line_that_is_too_long_is_told_of(library: Any, server: HttpServer) -> None:
    with a_client(library, max_size=1, max_waiting=0) as client:
        client.get(f"{server.url}/echo/1")
        with client.stream("GET", f"{server.url}/echo/2"), pytest.raises(PoolOverloaded):
            client.get(f"{server.url}/echo/3")


def test_each_connection_takes_a_permit(library: Any, server: HttpServer) -> None:
    budget = CountingBudget()
    url = f"{server.url}/echo/1"
    with a_client(library, max_size=3, budget=budget) as client, client.stream("GET", url):
        client.get(url)
        assert (budget.taken, server.connected) == (2, 2)
    budget.wait_taken(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="not run: there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(library: Any, server: HttpServer) -> None:
    with a_client(library, max_size=1) as client:
        client.get(f"{server.url}/echo/1")
        child = os.fork()
        if child == 0:
            told = 1
            with suppress(BaseException):
                told = 0 if client.get(f"{server.url}/echo/child").text == "child" else 2
            os._exit(told)

        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert server.connections == 2
        assert client.get(f"{server.url}/echo/parent").text == "parent"
        assert server.connections == 2
