"""`@handler`: checked when it decorates, a plain synchronous callable ever after."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lmi_runtime.context import current, peek
from lmi_runtime.errors import (
    ConfigurationError,
    DeadlineExceeded,
    HandlerSignatureError,
    NoActiveRequest,
)
from lmi_runtime.handlers import HandlerSpec, HttpHead, Style, bridge, handler, spec_of
from tests.support.patience import PATIENCE_S

ROOT = Path(__file__).parents[3]


class Context:
    """What another runtime passes as `context`."""

    aws_request_id = "theirs"
    invoked_function_arn = "arn:f"
    tenant_id = "t"
    _epoch_deadline_time_in_ms = 5

    def __init__(self, remaining_ms: int = 60_000) -> None:
        self._remaining_ms = remaining_ms

    def get_remaining_time_in_millis(self) -> int:
        return self._remaining_ms


def call(decorated: Any, event: Any = None, context: Any = None) -> Any:
    return decorated({} if event is None else event, context or Context())


# --------------------------------------------------------------------------- what it makes


@handler
async def at_module_level(event: Any, context: Any) -> Any:
    """Its docstring."""
    return event


def test_result_is_an_ordinary_function() -> None:
    assert inspect.isfunction(at_module_level)
    assert not inspect.iscoroutinefunction(at_module_level)
    assert at_module_level.__name__ == "at_module_level"
    assert at_module_level.__doc__ == "Its docstring."
    assert list(inspect.signature(at_module_level).parameters) == ["event", "context"]
    assert inspect.iscoroutinefunction(at_module_level.__wrapped__)
    assert pickle.loads(pickle.dumps(at_module_level)) is at_module_level


def test_spec_remembers_everything() -> None:
    @handler(
        max_per_vcpu=8,
        concurrency="threads",
        deadline="report",
        deadline_margin_s=1,
        serializer="orjson",
    )
    def decorated(event: Any) -> Any: ...

    spec = spec_of(decorated)
    assert spec is decorated.__lmi_handler__
    assert isinstance(spec, HandlerSpec)
    assert (spec.max_per_vcpu, spec.concurrency, spec.deadline) == (8, "threads", "report")
    assert spec.deadline_margin_s == 1.0
    assert spec.takes_context is False
    assert spec.style is Style.FUNCTION
    with pytest.raises(AttributeError):
        spec.max_per_vcpu = 9  # type: ignore[misc]


def test_undecorated_function_has_no_spec() -> None:
    assert spec_of(lambda event: None) is None


@pytest.mark.parametrize(
    "options",
    [
        {"max_per_vcpu": 0},
        {"max_per_vcpu": True},
        {"max_per_vcpu": 1.5},
        {"concurrency": "thread"},
        {"concurrency": "threads"},
        {"deadline": "ignore"},
        {"deadline_margin_s": -1},
        {"deadline_margin_s": float("nan")},
        {"deadline_margin_s": float("inf")},
        {"deadline_margin_s": "1"},
        {"deadline_margin_s": True},
        {"serializer": 3},
    ],
    ids=str,
)
def test_option_that_makes_no_sense_is_refused_at_once(options: dict[str, Any]) -> None:
    [name] = options

    async def function(event: Any) -> None: ...

    with pytest.raises(ConfigurationError, match=name):
        handler(**options)(function)


def test_plain_function_cannot_run_as_tasks() -> None:
    def function(event: Any) -> None: ...

    with pytest.raises(ConfigurationError, match="would block every other invocation"):
        handler(concurrency="async")(function)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("lambda: 0", "has to take"),
        ("lambda a, b, c: 0", "has to take"),
        ("lambda a, *, b: 0", "has to take"),
        ("lambda self, event, context: 0", "bound method"),
        ("lambda self, event: 0", "bound method"),
        ("3", "is not"),
        ("None or 'text'", "is not"),
    ],
)
def test_signature_that_cannot_be_called_is_refused(source: str, says: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f"function = {source}", namespace)
    with pytest.raises(HandlerSignatureError, match=says):
        handler(namespace["function"])


@pytest.mark.parametrize(
    ("source", "takes_context"),
    [
        ("lambda event: 0", False),
        ("lambda event, context: 0", True),
        ("lambda event, context=None: 0", True),
        ("lambda event, context, extra=1: 0", True),
        ("lambda event, *, extra=1: 0", False),
        ("lambda *args: 0", True),
        ("lambda event, **kwargs: 0", False),
        ("dict", True),  # does not say; called as awslambdaric would
    ],
)
def test_how_many_arguments_it_gets(source: str, takes_context: bool) -> None:
    namespace: dict[str, Any] = {}
    exec(f"function = {source}", namespace)
    assert handler(namespace["function"]).__lmi_handler__.takes_context is takes_context


def test_decorator_that_takes_anything_shows_what_is_inside() -> None:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    assert call(handler(decorate(lambda event: [event])), 1) == [1]
    assert call(handler(decorate(lambda event, context: context.aws_request_id))) == "theirs"


def test_decorator_that_adds_the_context_is_called_with_it() -> None:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(event: Any, context: Any) -> Any:
            return context.aws_request_id, function(event)

        return wrapper

    assert call(handler(decorate(lambda event: event)), 1) == ("theirs", 1)


def test_decorator_that_runs_a_coroutine_to_its_end_may_run_in_threads() -> None:
    """Only who wrote it knows that there is nothing left to await."""

    def run(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(event: Any, context: Any) -> Any:
            return asyncio.run(function(event, context))

        return wrapper

    @handler(concurrency="threads")
    @run
    async def handle(event: Any, context: Any) -> Any:
        return event

    assert handle.__lmi_handler__.style is Style.FUNCTION
    assert call(handle, 1) == 1


def test_decorating_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="already"):
        handler(handler(lambda event: None))


def test_bound_methods_and_objects() -> None:
    class App:
        def method(self, event: Any, context: Any) -> Any:
            return event, context.aws_request_id

        async def __call__(self, event: Any) -> Any:
            return event

    assert call(handler(App().method), 1) == (1, "theirs")
    assert call(handler(App()), 2) == 2


# --------------------------------------------------------------------------- other runtimes


def test_plain_function_serves_the_callers_request() -> None:
    seen = []

    @handler
    def decorated(event: Any, context: Any) -> Any:
        seen.append(current())
        assert current().lambda_context is context
        return event

    context = Context()
    assert call(decorated, {"a": 1}, context) == {"a": 1}
    [request] = seen
    assert (request.request_id, request.function_arn, request.tenant_id) == ("theirs", "arn:f", "t")
    assert request.ended
    assert peek() is None


def test_async_function_serves_the_callers_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1")

    @handler
    async def decorated(event: Any, context: Any) -> Any:
        await asyncio.sleep(0)
        inside = await asyncio.to_thread(lambda: current().request_id)
        return inside, current().trace_id, current().remaining_s(), context

    context = Context()
    request_id, trace_id, remaining_s, same = call(decorated, {}, context)
    assert (request_id, trace_id, same) == ("theirs", "Root=1", context)
    assert 50 < remaining_s <= 60
    assert peek() is None


def test_without_a_context_it_still_runs() -> None:
    """As a unit test calls it."""

    @handler
    async def decorated(event: Any, context: Any = None) -> Any:
        assert current().remaining_s() == float("inf")
        return event, context

    assert decorated({"a": 1}) == ({"a": 1}, None)


def test_one_loop_serves_every_call() -> None:
    @handler
    async def decorated(event: Any) -> Any:
        return asyncio.get_running_loop(), threading.get_ident()

    first, second = call(decorated), call(decorated)
    assert first == second
    assert first[1] != threading.get_ident()


def test_calls_from_several_threads_run_together() -> None:
    """Each waits for all the others, which calls one after another never could."""
    everybody = 8
    arrived: list[str] = []
    all_here = asyncio.Event()

    @handler
    async def decorated(event: Any) -> Any:
        arrived.append(event)
        if len(arrived) == everybody:
            all_here.set()
        await asyncio.wait_for(all_here.wait(), PATIENCE_S)
        return event, current().request_id

    def one(number: int) -> Any:
        context = Context()
        context.aws_request_id = f"r{number}"
        return decorated(f"e{number}", context)  # type: ignore[call-arg]

    with concurrent.futures.ThreadPoolExecutor(everybody) as pool:
        results = list(pool.map(one, range(everybody)))
    assert results == [(f"e{number}", f"r{number}") for number in range(everybody)]


def test_nested_handler_serves_the_same_request() -> None:
    @handler
    async def inner(event: Any, context: Any) -> Any:
        return current().request_id

    @handler
    def outer(event: Any, context: Any) -> Any:
        before = current()
        result = inner(event, None)
        assert current() is before and not before.ended
        return result

    assert call(outer) == "theirs"


def test_calling_it_on_its_own_loop_is_an_error_and_no_deadlock() -> None:
    @handler
    async def inner(event: Any) -> Any: ...

    @handler
    async def outer(event: Any) -> Any:
        return inner(event)

    with pytest.raises(RuntimeError, match="event loop thread"):
        call(outer)


class Weird(BaseException):
    pass


@pytest.mark.parametrize("raised", [ValueError, SystemExit, KeyboardInterrupt, Weird])
def test_what_the_handler_raises_reaches_the_caller_and_not_the_loop(
    raised: type[BaseException],
) -> None:
    @handler
    async def decorated(event: Any) -> Any:
        if event == "raise":
            raise raised("x")
        return threading.get_ident()

    before = call(decorated)
    with pytest.raises(raised) as caught:
        call(decorated, "raise")

    assert call(decorated) == before  # the same loop goes on
    files = [frame.path.name for frame in caught.traceback]
    # Nothing of the way to the loop and back is left in the stack.
    assert files[-2:] == ["decorator.py", "test_decorator.py"]
    assert "bridge.py" not in files


def test_cancelled_error_does_not_end_the_runtime_that_called() -> None:
    """asyncio's is a BaseException, which awslambdaric does not catch."""

    @handler
    async def decorated(event: Any) -> Any:
        raise asyncio.CancelledError("mine")

    with pytest.raises(concurrent.futures.CancelledError, match="mine") as caught:
        call(decorated)
    assert isinstance(caught.value, Exception)


def test_deadline_cancels_an_async_handler() -> None:
    unwound = []

    @handler(deadline_margin_s=10)
    async def decorated(event: Any) -> Any:
        try:
            await asyncio.sleep(3600)
        finally:
            unwound.append(True)

    with pytest.raises(DeadlineExceeded, match="10 s before its deadline"):
        call(decorated, {}, Context(remaining_ms=9_000))
    assert unwound == [True]


def test_deadline_that_is_only_reported_cancels_nothing() -> None:
    @handler(deadline="report", deadline_margin_s=10)
    async def decorated(event: Any) -> Any:
        await asyncio.sleep(0)
        return "done"

    assert call(decorated, {}, Context(remaining_ms=0)) == "done"


def test_scope_ends_with_the_call() -> None:
    escaped = []

    @handler
    async def decorated(event: Any) -> Any:
        async def later() -> Any:
            await asyncio.sleep(0)
            await released.wait()
            return current()

        released = asyncio.Event()
        escaped.append((asyncio.ensure_future(later()), released))

    @handler
    async def other(event: Any) -> Any:
        [(task, released)] = escaped
        released.set()
        with pytest.raises(NoActiveRequest):
            await task

    call(decorated)
    call(other)


def test_streams_are_joined() -> None:
    @handler
    async def a(event: Any) -> AsyncIterator[Any]:
        yield "a"
        yield b"b"
        yield current().request_id

    @handler
    def s(event: Any) -> Iterator[Any]:
        yield HttpHead(status=201)
        yield current().request_id

    assert call(a) == b"abtheirs"
    assert call(s) == {
        "statusCode": 201,
        "headers": {},
        "body": "theirs",
        "isBase64Encoded": False,
    }


def test_forked_child_gets_a_loop_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the child neither the loop's thread nor whoever held its lock exists any more."""
    loop = object()
    monkeypatch.setattr(bridge, "_loop", loop)
    monkeypatch.setattr(bridge, "_lock", threading.Lock())
    bridge._lock.acquire()

    bridge._forget_in_child()

    assert bridge._loop is None
    assert bridge._lock.acquire(blocking=False)


def run_python(source: str, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(source)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.system
def test_real_fork_after_the_loop_began() -> None:
    assert run_python(
        """
        import os, warnings
        from lmi_runtime.handlers import handler

        @handler
        async def h(event):
            return os.getpid()

        parent = h(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork
            child = os.fork()
        if child == 0:
            assert h(1) == os.getpid() != parent
            print("child", flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert h(1) == parent
        print("parent")
        """
    ).split() == ["child", "parent"]


@pytest.mark.system
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_process_ends_quietly_with_tasks_under_way(backend: str) -> None:
    assert run_python(
        """
        import concurrent.futures, contextlib, threading
        import anyio
        from lmi_runtime.context import current
        from lmi_runtime.handlers import handler

        begun = threading.Event()

        @handler
        async def stuck(event):
            begun.set()
            await anyio.sleep_forever()

        @handler
        async def h(event):
            await anyio.sleep(0)
            return current().request_id

        def wait_for_ever():
            with contextlib.suppress(concurrent.futures.CancelledError):
                stuck(1)

        threading.Thread(target=wait_for_ever, daemon=True).start()
        assert begun.wait(60)
        assert h(1) == ""
        print(anyio.run(anyio.sleep, 0))
        """,
        LMI_BACKEND=backend,
    ).split() == ["None"]


@pytest.mark.system
def test_loop_that_cannot_start_says_why() -> None:
    assert "did not start" in run_python(
        """
        from lmi_runtime.handlers import handler

        @handler
        async def h(event): ...

        try:
            h(1)
        except RuntimeError as exc:
            print(exc, repr(exc.__cause__))
        """,
        LMI_BACKEND="curio",
    )
