"""A resource is opened once, by nobody who asked for it, and closed after those that need it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import importlib
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import Context, ContextVar
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from lmi_runtime import _sync
from lmi_runtime.context import Request, current, enter, peek, set_worker_loop
from lmi_runtime.errors import (
    LoadTimeout,
    PoolClosed,
    PoolError,
    ReentrantLoad,
    WrongKindOfCaller,
)
from lmi_runtime.model import Invocation
from lmi_runtime.pools import once, registry
from lmi_runtime.pools.resources import AsyncResource, Resource, resource
from tests.support.patience import PATIENCE_S

# The package has a function of this name, too.
module = importlib.import_module("lmi_runtime.pools.resources")

T = TypeVar("T")
Log = pytest.LogCaptureFixture

PLENTY_S = 2 * PATIENCE_S


@pytest.fixture(autouse=True)
def nothing_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_opened", _sync.ProcessWide(dict))
    yield
    set_worker_loop(None)


class Asking:
    """A call in a thread of its own, and what came of it."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._outcome: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome = self._function()
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the call hangs"
        if self._error is not None:
            raise self._error
        return self._outcome


def waiting(thing: Resource[Any] | AsyncResource[Any]) -> int:
    openings = (cell for cell in list(thing._once.cells.values()) if not is_open(cell))
    return sum(len(opening.parkers) for opening in openings)


def is_open(cell: object) -> bool:
    return isinstance(cell, once.Opened)


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    tick = threading.Event()
    for _ in range(int(PATIENCE_S / 0.001)):
        if condition():
            return
        tick.wait(0.001)
    raise AssertionError("never happened")


async def until_here(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what happens in threads sets no event here
            await anyio.sleep(0.001)


def in_request(function: Callable[[], T], *, left_s: float | None = None) -> T:
    deadline_s = None if left_s is None else _sync.monotonic() + left_s
    context = Context()
    context.run(enter, Request(Invocation("r1", deadline_s=deadline_s)))
    return context.run(function)


class Opener:
    """Counts its calls; each waits for `gate`, then returns the number or raises `error`."""

    def __init__(self) -> None:
        self.calls = 0
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.error: BaseException | None = None
        self.closed: list[int] = []

    def __call__(self) -> int:
        self.calls += 1
        self.entered.set()
        assert self.gate.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        return self.calls

    async def in_task(self) -> int:
        self.calls += 1
        self.entered.set()
        await until_here(self.gate.is_set)
        if self.error is not None:
            raise self.error
        return self.calls


@pytest.fixture
def opener() -> Opener:
    return Opener()


# --- four kinds of openers


def test_a_function_is_called_once() -> None:
    made: list[object] = []

    @resource
    def thing() -> object:
        made.append(object())
        return made[-1]

    assert not thing.opened
    assert thing() is thing() is made[0]
    assert thing.opened
    assert len(made) == 1


@pytest.mark.anyio
async def test_an_async_function_is_awaited_once() -> None:
    made: list[object] = []

    @resource
    async def thing() -> object:
        await anyio.lowlevel.checkpoint()
        made.append(object())
        return made[-1]

    assert not thing.opened
    assert await thing() is await thing() is made[0]
    assert thing.opened


def test_a_generator_goes_on_when_it_is_closed() -> None:
    log: list[str] = []

    @resource
    def thing() -> Iterator[str]:
        log.append("open")
        yield "value"
        log.append("close")

    assert thing() == "value"
    assert log == ["open"]
    thing.close()
    thing.close()
    assert log == ["open", "close"]


@pytest.mark.anyio
async def test_an_async_generator_runs_in_one_task_from_end_to_end() -> None:
    """A task group must be left in the task that entered it."""
    log: list[str] = []

    @resource
    async def thing() -> AsyncIterator[str]:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            with anyio.CancelScope():
                yield "value"
            group.cancel_scope.cancel()
        log.append("close")

    assert await thing() == await thing() == "value"
    await thing.aclose()
    await thing.aclose()
    assert log == ["close"]


def test_it_looks_like_the_function() -> None:
    @resource
    def thing() -> int:
        """Says what it is."""
        return 1

    @resource
    async def other() -> int:
        return 1

    assert (thing.__name__, thing.__doc__) == ("thing", "Says what it is.")  # type: ignore[attr-defined]
    assert "resource" in repr(thing)
    assert "open" not in repr(thing)
    assert thing() == 1
    assert repr(thing).endswith("thing (open)>")
    assert repr(other).startswith("<async resource ")


class Shelf:
    def method(self) -> int:
        return 1


def needs(argument: int) -> int:
    return argument


@pytest.mark.parametrize("wrong", [needs, Shelf.method, lambda *, key: key])
def test_it_takes_no_parameters(wrong: Any) -> None:
    with pytest.raises(TypeError, match="without arguments"):
        resource(wrong)


@pytest.mark.parametrize("wrong", [1, classmethod(Shelf.method)])
def test_it_takes_functions_only(wrong: Any) -> None:
    with pytest.raises(TypeError, match="takes a function"):
        resource(wrong)


def test_optional_parameters_keep_their_defaults() -> None:
    def thing(number: int = 7, *_: int, **__: int) -> int:
        return number

    assert resource(thing)() == 7
    assert resource(functools.partial(needs, 8))() == 8
    assert resource(dict)() == {}


def test_a_coroutine_is_no_value() -> None:
    async def connect() -> int:
        return 1

    thing = resource(lambda: connect())
    with pytest.raises(TypeError, match="async def"):
        thing()  # type: ignore[unused-coroutine]


# --- one opening, however many ask


def test_threads_share_one_opening(opener: Opener) -> None:
    thing: Resource[int] = resource(opener)
    callers = [Asking(thing) for _ in range(8)]
    until(lambda: waiting(thing) == 8)
    opener.gate.set()

    assert [caller.result() for caller in callers] == [1] * 8
    assert opener.calls == 1


@pytest.mark.anyio
async def test_tasks_share_one_opening(opener: Opener) -> None:
    thing = resource(opener.in_task)
    values: list[int] = []

    async def ask() -> None:
        values.append(await thing())

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(ask)
        await until_here(lambda: waiting(thing) == 8)
        opener.gate.set()

    assert values == [1] * 8
    assert opener.calls == 1


@pytest.mark.anyio
async def test_threads_and_tasks_share_what_a_thread_opens(opener: Opener) -> None:
    """The loop runs on while the opener blocks."""
    thing: Resource[int] = resource(opener)
    values: list[int] = []

    async def ask() -> None:
        values.append(await thing.aget())

    callers = [Asking(thing) for _ in range(4)]
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(ask)
        await until_here(lambda: waiting(thing) == 8)
        opener.gate.set()
    values += [caller.result() for caller in callers]

    assert values == [1] * 8
    assert await thing.aget() == 1
    assert opener.calls == 1


@pytest.mark.anyio
async def test_threads_and_tasks_share_what_a_task_opens(opener: Opener) -> None:
    thing = resource(opener.in_task)
    set_worker_loop(_sync.current_home())
    values: list[int] = []

    async def ask() -> None:
        values.append(await thing())

    callers = [Asking(thing.get) for _ in range(4)]
    await until_here(lambda: waiting(thing) == 4)  # a thread was first
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(ask)
        await until_here(lambda: waiting(thing) == 8)
        opener.gate.set()
    values += [await anyio.to_thread.run_sync(caller.result) for caller in callers]

    assert values == [1] * 8
    assert thing.get() == 1
    assert await anyio.to_thread.run_sync(lambda: (thing.get(), thing.opened)) == (1, True)
    assert opener.calls == 1


whose: ContextVar[str] = ContextVar("whose", default="nobody")


def test_an_opener_serves_nobody() -> None:
    @resource
    def thing() -> tuple[str, Request | None]:
        return whose.get(), peek()

    def ask() -> tuple[str, Request | None]:
        whose.set("me")
        return thing()

    assert in_request(ask) == ("nobody", None)


@pytest.mark.anyio
async def test_an_async_opener_serves_nobody() -> None:
    @resource
    async def thing() -> AsyncIterator[tuple[str, Request | None]]:
        yield whose.get(), peek()

    token = whose.set("me")
    assert await thing() == ("nobody", None)
    whose.reset(token)
    await thing.aclose()


def test_both_halves_of_a_generator_run_in_one_context() -> None:
    seen: list[str] = []

    @resource
    def thing() -> Iterator[None]:
        token = whose.set("mine")
        yield
        seen.append(whose.get())
        whose.reset(token)

    thing()
    thing.close()
    assert seen == ["mine"]
    assert whose.get() == "nobody"


# --- who leaves early


def test_whoever_runs_out_of_time_leaves_the_opening_to_the_others(opener: Opener) -> None:
    thing: Resource[int] = resource(opener)

    with pytest.raises(LoadTimeout):
        in_request(thing, left_s=0.0)
    other = Asking(thing)
    until(lambda: waiting(thing) == 1)
    opener.gate.set()

    assert other.result() == 1
    assert opener.calls == 1


def test_the_deadline_is_that_of_the_request_that_asks(opener: Opener) -> None:
    thing: Resource[int] = resource(opener)
    patient = Asking(lambda: in_request(thing, left_s=PATIENCE_S))
    hasty = Asking(lambda: in_request(thing, left_s=0.02))

    with pytest.raises(LoadTimeout, match="deadline"):
        hasty.result()
    opener.gate.set()
    assert patient.result() == 1


def test_what_outlives_its_request_has_no_deadline_of_it(opener: Opener) -> None:
    thing: Resource[int] = resource(opener)

    def outlive() -> int:
        current().end()
        return thing()

    late = Asking(lambda: in_request(outlive, left_s=-1))
    until(lambda: waiting(thing) == 1)
    opener.gate.set()

    assert late.result() == 1


@pytest.mark.anyio
async def test_tasks_run_out_of_time_too(opener: Opener) -> None:
    thing = resource(opener.in_task)

    context = Context()
    context.run(enter, Request(Invocation("r1", deadline_s=_sync.monotonic() + 0.02)))
    coroutine = thing()
    try:
        with pytest.raises(LoadTimeout):
            await InContext(context, coroutine)
    finally:
        opener.gate.set()
    assert await thing() == 1


class InContext:
    """Awaits a coroutine in this task, but every step of it in another context."""

    def __init__(self, context: Context, coroutine: Any) -> None:
        self._context = context
        self._coroutine = coroutine

    def __await__(self) -> Iterator[Any]:
        sent: Any = None
        while True:
            try:
                got = self._context.run(self._coroutine.send, sent)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            sent = yield got


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["thread", "task"])
async def test_the_first_caller_may_be_cancelled(kind: str, opener: Opener) -> None:
    ask: Any
    if kind == "thread":
        by_thread: Resource[int] = resource(opener)
        thing, ask = by_thread, by_thread.aget
    else:
        by_task = resource(opener.in_task)
        thing = ask = by_task  # type: ignore[assignment]

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await until_here(lambda: waiting(thing) == 1)
        group.cancel_scope.cancel()
    assert waiting(thing) == 0
    opener.gate.set()

    assert await ask() == 1
    assert opener.calls == 1


# --- what fails


def test_a_failure_is_everybodys_who_waited_and_the_next_tries_again(opener: Opener) -> None:
    opener.error = ConnectionError("refused")
    thing: Resource[int] = resource(opener)
    callers = [Asking(thing) for _ in range(4)]
    until(lambda: waiting(thing) == 4)
    opener.gate.set()

    for caller in callers:
        with pytest.raises(ConnectionError, match="refused"):
            caller.result()
    assert opener.calls == 1
    opener.error = None
    assert thing() == 2


@pytest.mark.anyio
async def test_a_failure_in_a_task_is_tried_again(opener: Opener) -> None:
    opener.error = ConnectionError("refused")
    opener.gate.set()
    thing = resource(opener.in_task)

    with pytest.raises(ConnectionError):
        await thing()
    opener.error = None
    assert await thing() == 2


def test_a_shared_failure_does_not_collect_the_stacks_of_all(opener: Opener) -> None:
    opener.error = ConnectionError("refused")
    opener.gate.set()
    opening = once.Opening[int]("thing", None)
    with pytest.raises(ConnectionError) as caught:
        opener()
    opening.end_locked(None, caught.value)

    depths = []
    for _ in range(3):
        with pytest.raises(ConnectionError) as raised:
            opening.result()
        depths.append(len(raised.traceback))
    assert len(set(depths)) == 1


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_an_opener_may_raise_anything(error: type[BaseException], opener: Opener) -> None:
    opener.error = error()
    opener.gate.set()

    with pytest.raises(error):
        resource(opener)()


def test_the_cancellation_of_an_opener_is_not_that_of_those_who_wait() -> None:
    @resource
    async def thing() -> None:
        raise asyncio.CancelledError

    with pytest.raises(PoolError, match="cancelled"):
        asyncio.run(thing())


def test_a_half_opened_generator_cleans_up_after_itself() -> None:
    log: list[str] = []

    @resource
    def thing() -> Iterator[None]:
        try:
            raise ConnectionError
        finally:
            log.append("cleaned")
        yield

    with pytest.raises(ConnectionError):
        thing()
    assert log == ["cleaned"]
    assert registry._opened() == {}


def test_a_generator_has_to_yield() -> None:
    @resource
    def thing() -> Iterator[int]:
        yield from ()

    with pytest.raises(RuntimeError, match="yielded nothing"):
        thing()


@pytest.mark.anyio
async def test_an_async_generator_has_to_yield() -> None:
    @resource
    async def thing() -> AsyncIterator[int]:
        for number in ():
            yield number

    with pytest.raises(RuntimeError, match="yielded nothing"):
        await thing()


def test_what_the_rest_raises_is_logged(caplog: Log) -> None:
    @resource
    def thing() -> Iterator[None]:
        yield
        raise ConnectionError("gone")

    thing()
    thing.close()
    assert [record.exc_info is not None for record in caplog.records] == [True]


@pytest.mark.anyio
async def test_what_an_async_rest_raises_is_logged(caplog: Log) -> None:
    @resource
    async def thing() -> AsyncIterator[None]:
        yield
        raise ConnectionError("gone")

    await thing()
    await thing.aclose()
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_a_second_yield_is_told_of_and_ends_the_generator(caplog: Log) -> None:
    log: list[str] = []

    @resource
    def thing() -> Iterator[None]:
        try:
            yield
            yield
            log.append("went on")
        finally:
            log.append("cleaned")

    thing()
    thing.close()
    assert "more than once" in caplog.text
    assert log == ["cleaned"]


@pytest.mark.anyio
async def test_a_second_yield_ends_an_async_generator(caplog: Log) -> None:
    log: list[str] = []

    @resource
    async def thing() -> AsyncIterator[None]:
        try:
            yield
            yield
            log.append("went on")
        finally:
            log.append("cleaned")

    await thing()
    await thing.aclose()
    assert "more than once" in caplog.text
    assert log == ["cleaned"]


@pytest.mark.anyio
async def test_a_thread_that_cannot_start_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    thing = resource(lambda: 1)

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(_sync, "spawn", refuse)
        with pytest.raises(RuntimeError, match="start"):
            thing()
    assert once._blocked == {}
    assert thing() == 1


# --- resources of resources


@pytest.mark.anyio
async def test_what_is_needed_closes_after_what_needs_it() -> None:
    log: list[str] = []

    @resource
    def settings() -> Iterator[str]:
        yield "s"
        log.append("settings")

    @resource
    async def client() -> AsyncIterator[str]:
        yield await settings.aget() + "c"
        log.append("client")

    @resource
    async def service() -> AsyncIterator[str]:
        value = await client() + "+"
        yield value
        log.append("service")

    assert await service() == "sc+"
    await registry.close_everything(PLENTY_S)

    assert log == ["service", "client", "settings"]
    with pytest.raises(PoolClosed):
        settings()
    with pytest.raises(PoolClosed):
        await client()
    with pytest.raises(PoolClosed):
        await service()


def test_a_circle_is_an_error_not_a_hang() -> None:
    @resource
    def first() -> int:
        return second()

    @resource
    def second() -> int:
        return third()

    @resource
    def third() -> int:
        return first()

    with pytest.raises(ReentrantLoad, match=r"first -> .*second -> .*third -> .*first|needs"):
        Asking(first).result()
    with pytest.raises(ReentrantLoad):
        Asking(second).result()


def test_a_resource_cannot_need_itself() -> None:
    @resource
    def thing() -> int:
        return thing()

    with pytest.raises(ReentrantLoad):
        Asking(thing).result()


@pytest.mark.anyio
async def test_a_circle_of_tasks_is_an_error() -> None:
    @resource
    async def first() -> int:
        return await second()

    @resource
    async def second() -> AsyncIterator[int]:
        yield await first()

    with anyio.fail_after(PATIENCE_S):
        with pytest.raises(ReentrantLoad):
            await first()
        with pytest.raises(ReentrantLoad):
            await second()


def test_two_openings_that_meet_are_a_circle() -> None:
    """Each is opened for another caller, and only then do they need each other."""
    both = threading.Barrier(2)

    @resource
    def left() -> int:
        both.wait(PATIENCE_S)
        return right()

    @resource
    def right() -> int:
        both.wait(PATIENCE_S)
        return left()

    callers = [Asking(left), Asking(right)]
    for caller in callers:
        with pytest.raises(ReentrantLoad):
            caller.result()


def test_two_that_need_the_same_are_no_circle(opener: Opener) -> None:
    base: Resource[int] = resource(opener)
    left = resource(lambda: base() + 1)
    right = resource(lambda: base() + left())
    top = resource(lambda: left() + right())
    caller = Asking(top)
    assert opener.entered.wait(PATIENCE_S)
    opener.gate.set()

    assert caller.result() == 5


@pytest.mark.anyio
async def test_an_opener_does_not_wait_for_the_loop_that_waits_for_it() -> None:
    set_worker_loop(_sync.current_home())
    client = resource(Opener().in_task)
    inner = resource(lambda: client.get())
    outer = resource(lambda: inner())

    for thing in (inner, outer):
        with pytest.raises(WrongKindOfCaller, match=r"await .*\.aget\(\)"):
            thing()
    assert once._blocked == {}


@pytest.mark.anyio
async def test_a_loop_does_not_wait_for_an_opener_that_waits_for_it(opener: Opener) -> None:
    set_worker_loop(_sync.current_home())
    client = resource(opener.in_task)
    thing = resource(lambda: client.get())
    caller = Asking(thing)
    await until_here(lambda: waiting(client) == 1)

    with pytest.raises(WrongKindOfCaller, match="stands still"):
        thing()
    opener.gate.set()
    assert await thing.aget() == 1
    assert await anyio.to_thread.run_sync(caller.result) == 1


@pytest.mark.anyio
async def test_an_opener_may_wait_for_a_loop_that_stands_still_for_another(opener: Opener) -> None:
    """It is only a little late."""
    set_worker_loop(_sync.current_home())
    client = resource(Opener().in_task)
    thing: Resource[int] = resource(opener)

    def ask() -> None:
        until(lambda: waiting(thing) == 1)
        until(lambda: once._blocked != {})
        asking.append(Asking(resource(lambda: client.get())))
        until(lambda: waiting(client) == 1)
        opener.gate.set()

    asking: list[Asking] = []
    first = Asking(ask)
    assert thing() == 1
    first.result()
    client._opener.__self__.gate.set()  # type: ignore[attr-defined]
    assert await client() == 1
    assert await anyio.to_thread.run_sync(asking[0].result) == 1


# --- closing


def test_what_is_closed_stays_closed() -> None:
    thing = resource(lambda: 1)
    assert thing() == 1
    thing.close()

    assert not thing.opened
    with pytest.raises(PoolClosed):
        thing()


@pytest.mark.anyio
async def test_aclose_of_what_a_thread_opened() -> None:
    threads: list[int] = []

    @resource
    def thing() -> Iterator[None]:
        yield
        threads.append(threading.get_ident())

    await thing.aget()
    await thing.aclose()
    assert threads
    assert threads != [threading.get_ident()]
    with pytest.raises(PoolClosed):
        await thing.aget()


def test_closed_while_it_opens_it_is_closed_as_soon_as_it_is_open() -> None:
    entered, gate, closed = threading.Event(), threading.Event(), threading.Event()

    @resource
    def thing() -> Iterator[None]:
        entered.set()
        assert gate.wait(PATIENCE_S)
        yield
        closed.set()

    caller = Asking(thing)
    assert entered.wait(PATIENCE_S)
    until(lambda: waiting(thing) == 1)
    thing.close()
    with pytest.raises(PoolClosed):
        caller.result()
    assert not closed.is_set()
    gate.set()

    assert closed.wait(PATIENCE_S)
    assert registry._opened() == {}


@pytest.mark.anyio
async def test_closed_while_a_task_opens_it() -> None:
    entered, gate, closed = anyio.Event(), anyio.Event(), anyio.Event()
    errors: list[BaseException] = []

    @resource
    async def thing() -> AsyncIterator[None]:
        entered.set()
        await gate.wait()
        yield
        closed.set()

    async def ask() -> None:
        try:
            await thing()
        except PoolClosed as error:
            errors.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await entered.wait()
        await thing.aclose()
    assert len(errors) == 1
    gate.set()
    with anyio.fail_after(PATIENCE_S):
        await closed.wait()
    assert registry._opened() == {}


@pytest.mark.anyio
async def test_a_rest_that_hangs_is_cancelled(caplog: Log) -> None:
    cancelled = anyio.Event()

    @resource
    async def thing() -> AsyncIterator[None]:
        yield
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    await thing()
    await thing.aclose(timeout_s=0.02)
    with anyio.fail_after(PATIENCE_S):
        await cancelled.wait()
    assert "did not close within 0.02 s" in caplog.text


@pytest.mark.anyio
async def test_a_thread_closes_what_a_task_opened() -> None:
    threads: list[int] = []

    @resource
    async def thing() -> AsyncIterator[None]:
        yield
        threads.append(threading.get_ident())

    await thing()
    with pytest.raises(WrongKindOfCaller):
        thing.close()
    await anyio.to_thread.run_sync(thing.close)
    assert threads == [threading.get_ident()]


def test_an_open_resource_is_not_closed_because_nobody_refers_to_it() -> None:
    log: list[str] = []

    def make() -> str:
        @resource
        def thing() -> Iterator[str]:
            try:
                yield "value"
            finally:
                log.append("close")

        return thing()

    value = make()
    gc.collect()
    assert log == []
    anyio.run(registry.close_everything, PLENTY_S)
    assert log == ["close"]
    assert value == "value"


# --- event loops come and go


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_when_a_loop_ends_what_it_opened_is_closed_and_the_next_opens_anew(backend: str) -> None:
    log: list[str] = []

    @resource
    async def thing() -> AsyncIterator[str]:
        log.append("open")
        yield "value"
        await anyio.lowlevel.checkpoint()
        log.append("close")

    @resource
    async def plain() -> object:
        return object()

    async def ask() -> object:
        assert await thing() == "value"
        return await plain()

    values = [anyio.run(ask, backend=backend) for _ in range(2)]

    assert log == ["open", "close"] * 2
    assert values[0] is not values[1]
    assert not thing.opened
    assert registry._opened() == {}


def test_what_a_closed_loop_left_open_is_abandoned_with_a_word(caplog: Log) -> None:
    """Nobody cancelled its tasks."""

    @resource
    async def thing() -> AsyncIterator[int]:
        yield 1

    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(thing()) == 1
    task = next(iter(asyncio.all_tasks(loop)))
    loop.close()
    try:
        assert anyio.run(thing) == 1
        assert [record.message for record in caplog.records] == [
            f"{thing._once.name} was left open: its event loop was closed before it"
        ]
    finally:
        task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_two_loops_at_once_open_one_each() -> None:
    gate = threading.Barrier(2)

    @resource
    async def thing() -> object:
        return asyncio.get_running_loop()

    async def ask() -> bool:
        mine = await thing() is asyncio.get_running_loop()
        gate.wait(PATIENCE_S)
        return mine and await thing() is asyncio.get_running_loop()

    callers = [Asking(lambda: asyncio.run(ask())) for _ in range(2)]
    assert [caller.result() for caller in callers] == [True, True]


def test_a_thread_needs_to_know_a_loop() -> None:
    thing = resource(Opener().in_task)

    with pytest.raises(WrongKindOfCaller, match="none is known"):
        thing.get()
    assert not thing.opened


@pytest.mark.anyio
async def test_a_loops_thread_does_not_wait_for_its_own_loop() -> None:
    thing = resource(Opener().in_task)
    set_worker_loop(_sync.current_home())

    with pytest.raises(WrongKindOfCaller, match="await it"):
        thing.get()


def test_a_loop_that_is_over_is_known_no_more() -> None:
    async def tell() -> None:
        set_worker_loop(_sync.current_home())

    anyio.run(tell)
    with pytest.raises(WrongKindOfCaller):
        resource(Opener().in_task).get()


@pytest.mark.anyio
async def test_whoever_waits_for_an_opening_hears_that_the_loop_ended() -> None:
    """The loop cancels its tasks, the opening among them."""
    entered = threading.Event()

    @resource
    async def thing() -> None:
        entered.set()
        await anyio.sleep_forever()

    async def run() -> Asking:
        set_worker_loop(_sync.current_home())
        asking = Asking(thing.get)
        await until_here(entered.is_set)
        return asking

    asking = await anyio.to_thread.run_sync(lambda: asyncio.run(run()))
    with pytest.raises(PoolError, match="cancelled"):
        asking.result()


# --- a sync resource on an event loop


@pytest.mark.anyio
async def test_a_call_on_a_loop_works_and_says_when_that_took_long(
    monkeypatch: pytest.MonkeyPatch, caplog: Log
) -> None:
    monkeypatch.setattr(module, "BLOCKED_S", 0.0)
    thing = resource(lambda: 1)

    assert thing() == 1
    assert thing() == 1
    [record] = caplog.records
    assert "blocked the event loop" in record.message
    assert ".aget()" in record.message


@pytest.mark.anyio
async def test_a_call_on_a_loop_is_fine_when_it_is_quick(
    monkeypatch: pytest.MonkeyPatch, caplog: Log
) -> None:
    monkeypatch.setattr(module, "BLOCKED_S", PATIENCE_S)

    assert resource(lambda: 1)() == 1
    assert caplog.records == []


def test_a_call_in_a_thread_may_take_long(monkeypatch: pytest.MonkeyPatch, caplog: Log) -> None:
    monkeypatch.setattr(module, "BLOCKED_S", 0.0)

    assert resource(lambda: 1)() == 1
    assert caplog.records == []


def test_nothing_is_left_of_waiting(opener: Opener) -> None:
    opener.gate.set()
    thing: Resource[int] = resource(opener)
    outer = resource(lambda: thing())
    seen: list[once.Opening[Any]] = []
    joined = once.Once.join

    assert inspect.isfunction(joined)
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())

        def join(self: Any, *args: Any) -> Any:
            cell = joined(self, *args)
            seen.append(cell)
            return cell

        patch.setattr(once.Once, "join", join)
        outer()

    assert [(len(cell.parkers), cell.waits_for) for cell in seen] == [(0, [])] * 2
