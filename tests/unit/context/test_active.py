"""Who sees a request: tasks and threads that were started for it, and nobody else."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context

import anyio
import anyio.to_thread
import pytest

from lmi_runtime import _sync
from lmi_runtime.context import (
    ContextThreadPoolExecutor,
    Request,
    current,
    deadline_s,
    enter,
    peek,
    spawn_thread,
)
from lmi_runtime.errors import NoActiveRequest
from lmi_runtime.model import Invocation
from tests.support.patience import PATIENCE_S

Make = Callable[..., Request]
Serve = Callable[..., object]


@pytest.fixture(autouse=True)
def _plain_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are: other tests in this process may have made them carry requests."""
    for owner, name in ((threading.Thread, "start"), (ThreadPoolExecutor, "submit")):
        function = getattr(owner, name)
        monkeypatch.setattr(owner, name, getattr(function, "__wrapped__", function))


def seen() -> str | None:
    """The request id this code may act for."""
    try:
        return current().request_id
    except NoActiveRequest:
        return None


def in_thread(fn: Callable[[], object]) -> object:
    """What `fn` returns in a plain thread."""
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(fn()))
    thread.start()
    thread.join(PATIENCE_S)
    return results[0]


def test_outside_a_request_the_error_says_what_to_do() -> None:
    with pytest.raises(NoActiveRequest, match="spawn_thread") as caught:
        Context().run(current)

    assert caught.value.error_type == "Function.NoActiveRequest"
    assert Context().run(peek) is None


def test_a_request_is_current_in_the_context_that_entered_it(make_request: Make) -> None:
    context, request = Context(), make_request()

    context.run(enter, request)

    assert context.run(current) is request
    assert context.run(peek) is request
    assert peek() is None


def test_after_the_end_nobody_gets_the_request_but_the_log_still_knows_it(
    make_request: Make, serve: Serve
) -> None:
    request = make_request("gone")

    def outlive() -> None:
        request.end()
        with pytest.raises(NoActiveRequest, match="gone has been answered already"):
            current()
        assert peek() is request

    serve(request, outlive)


@pytest.mark.anyio
async def test_interleaved_tasks_each_see_their_own_request(make_request: Make) -> None:
    """Children of a task serve its request too, across every await."""
    views: dict[str, list[str | None]] = {}

    async def child(name: str) -> None:
        await anyio.lowlevel.checkpoint()
        views[name].append(seen())

    async def invocation(name: str) -> None:
        enter(make_request(name))
        views[name] = [seen()]
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
            views[name].append(seen())
        async with anyio.create_task_group() as children:
            children.start_soon(child, name)

    async with anyio.create_task_group() as tasks:
        for n in range(20):
            tasks.start_soon(invocation, f"r{n}")

    assert views == {f"r{n}": [f"r{n}"] * 5 for n in range(20)}
    assert peek() is None


@pytest.mark.anyio
async def test_worker_threads_of_anyio_serve_their_callers_even_when_reused(
    make_request: Make,
) -> None:
    """The same few worker threads serve many requests, then somebody who has none."""
    one_thread = anyio.CapacityLimiter(1)
    idents = set()

    def work() -> str | None:
        idents.add(threading.get_ident())
        return seen()

    async def invocation(name: str) -> None:
        enter(make_request(name))
        assert await anyio.to_thread.run_sync(work, limiter=one_thread) == name

    async with anyio.create_task_group() as tasks:
        for n in range(20):
            tasks.start_soon(invocation, f"r{n}")
    assert await anyio.to_thread.run_sync(work, limiter=one_thread) is None

    assert len(idents) < 20, "no thread was used twice: the test proves nothing"


@pytest.mark.anyio
async def test_a_background_task_that_outlives_its_request_is_told_so(make_request: Make) -> None:
    answered = anyio.Event()
    request = make_request("old")

    async def background() -> None:
        await answered.wait()
        with pytest.raises(NoActiveRequest, match="old has been answered already"):
            current()

    async def invocation(tasks: anyio.abc.TaskGroup) -> None:
        enter(request)
        tasks.start_soon(background)
        request.end()
        answered.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(invocation, tasks)


def test_asyncio_to_thread_sees_the_request_and_run_in_executor_does_not(
    make_request: Make,
) -> None:
    async def invocation() -> tuple[str | None, str | None]:
        enter(make_request("a"))
        loop = asyncio.get_running_loop()
        return await asyncio.to_thread(seen), await loop.run_in_executor(None, seen)

    assert asyncio.run(invocation()) == ("a", None)


def test_a_plain_thread_sees_no_request(make_request: Make, serve: Serve) -> None:
    assert serve(make_request(), lambda: in_thread(seen)) is None


def test_a_plain_executor_sees_no_request_not_even_in_threads_it_made_for_one(
    make_request: Make, serve: Serve
) -> None:
    with ThreadPoolExecutor(1) as pool:
        first = serve(make_request("a"), lambda: pool.submit(seen).result(PATIENCE_S))
        second = serve(make_request("b"), lambda: pool.submit(seen).result(PATIENCE_S))

    assert (first, second) == (None, None)


def test_a_spawned_thread_serves_its_starters_request(make_request: Make, serve: Serve) -> None:
    views: list[object] = []

    def start() -> None:
        spawn_thread(lambda *a, **k: views.append((seen(), a, k)), 1, key=2).join(PATIENCE_S)

    serve(make_request("a"), start)

    assert views == [("a", (1,), {"key": 2})]


def test_what_a_spawned_thread_enters_stays_in_it(make_request: Make, serve: Serve) -> None:
    def start() -> object:
        spawn_thread(enter, make_request("other")).join(PATIENCE_S)
        return seen()

    assert serve(make_request("a"), start) == "a"


def test_our_executor_serves_each_submitter_and_nobody_in_between(
    make_request: Make, serve: Serve
) -> None:
    """One thread runs for A, for nobody, then for B; `map` copies for every call."""
    with ContextThreadPoolExecutor(1) as pool:
        first = serve(make_request("a"), lambda: pool.submit(seen).result(PATIENCE_S))
        between = ThreadPoolExecutor.submit(pool, seen).result(PATIENCE_S)
        mapped = serve(make_request("b"), lambda: list(pool.map(lambda _: seen(), range(3))))

    assert (first, between, mapped) == ("a", None, ["b", "b", "b"])


def test_the_runtimes_own_threads_never_inherit_a_request(make_request: Make, serve: Serve) -> None:
    views: list[object] = []

    serve(
        make_request(),
        lambda: _sync.spawn(lambda: views.append(seen()), name="own").join(PATIENCE_S),
    )

    assert views == [None]


@pytest.mark.skipif(sys.version_info < (3, 14), reason="threads inherit contexts from 3.14 on")
def test_an_interpreter_whose_threads_inherit_contexts_cannot_mix_requests_up() -> None:
    """
    With ``thread_inherit_context`` a plain thread is part of its starter's request.

    That is what the option says. Ours still serve exactly whom they were started for.
    """
    program = """
        import threading
        from contextvars import Context
        from lmi_runtime import _sync
        from lmi_runtime.context import ContextThreadPoolExecutor, Request, enter, peek
        from lmi_runtime.model import Invocation

        seen = []
        pool = ContextThreadPoolExecutor(1)

        def invocation(name):
            enter(Request(Invocation(request_id=name)))
            _sync.spawn(lambda: seen.append(peek()), name="own").join(60)
            seen.append(pool.submit(peek).result(60).request_id)

        Context().run(invocation, "a")
        Context().run(invocation, "b")
        assert seen == [None, "a", None, "b"], seen
    """
    subprocess.run(
        [sys.executable, "-X", "thread_inherit_context=1", "-c", textwrap.dedent(program)],
        check=True,
        timeout=PATIENCE_S,
    )


@pytest.mark.skipif(sys.version_info < (3, 14), reason="threads cannot inherit a context")
def test_a_pools_threads_serve_nobody_where_threads_inherit_their_creators_context() -> None:
    """The default of free-threaded builds: callbacks of B's calls must not find A's request."""
    code = """
        from contextvars import Context
        from lmi_runtime.context import ContextThreadPoolExecutor, Request, enter, peek
        from lmi_runtime.model import Invocation

        views = []
        pool = ContextThreadPoolExecutor(1, initializer=lambda: views.append(peek()))
        for name in "ab":
            context = Context()
            context.run(enter, Request(Invocation(name)))
            future = context.run(pool.submit, peek)
            assert future.result(60).request_id == name
            pool.submit(int).result(60)
        callback = lambda future: views.append(peek())
        import threading
        gate = threading.Event()
        future = context.run(pool.submit, gate.wait, 10)
        future.add_done_callback(callback)
        gate.set()
        pool.shutdown()
        assert views == [None, None], views
    """
    command = [sys.executable, "-X", "thread_inherit_context=1", "-c", textwrap.dedent(code)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    assert ended.returncode == 0, ended.stderr


def test_the_deadline_is_that_of_a_request_that_has_not_ended() -> None:
    def deadlines(deadline: float | None) -> list[float]:
        request = Request(Invocation("r", deadline_s=deadline))
        enter(request)
        during = deadline_s()
        request.end()
        return [during, deadline_s()]

    assert Context().run(deadline_s) == math.inf
    assert Context().run(deadlines, 7.5) == [7.5, math.inf]
    assert Context().run(deadlines, None) == [math.inf, math.inf]
