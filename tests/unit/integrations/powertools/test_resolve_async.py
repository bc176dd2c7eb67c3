"""Middlewares below ``resolve_async``: few threads, and errors and cancellations go through."""

from __future__ import annotations

import asyncio
import functools
import json
import threading
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, ContextVar
from typing import Annotated, Any

import pytest
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.middlewares import BaseMiddlewareHandler

from lmi_runtime.integrations.safety import make_safe
from tests.support.crowd import LambdaContext
from tests.support.http_events import http_event
from tests.support.patience import PATIENCE_S

make_safe()

pytestmark = pytest.mark.skipif(
    not hasattr(APIGatewayHttpResolver, "resolve_async"),
    reason="this version has no resolve_async",
)

MANY = 64
variable: ContextVar[str] = ContextVar("variable", default="unset")


def run(main: Callable[[], Any], *, executor_threads: int = 2) -> Any:
    """Run it on a loop whose executor has few threads, for so long at most."""

    async def bounded() -> Any:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(executor_threads))
        return await asyncio.wait_for(main(), PATIENCE_S)

    return asyncio.run(bounded())


async def call(app: Any, path: str = "/", **headers: str) -> Any:
    response = await app.resolve_async(http_event(path, **headers), LambdaContext(0))
    return response["statusCode"], response["body"]


def pass_on(app: Any, next_middleware: Any) -> Response:
    response: Response = next_middleware(app)
    return response


class PassOn(BaseMiddlewareHandler[Any]):
    def handler(self, app: Any, next_middleware: Any) -> Response:
        return pass_on(app, next_middleware)


def middlewares(count: int) -> list[Callable[..., Any]]:
    return [pass_on if each % 2 else PassOn() for each in range(count)]


@pytest.mark.parametrize("validation", [False, True])
@pytest.mark.parametrize("count", [0, 1, 4])
def test_many_calls_need_nothing_of_the_executor(validation: bool, count: int) -> None:
    app = APIGatewayHttpResolver(enable_validation=validation)
    app.use(middlewares(count))
    threads_at_most = threading.active_count() + (MANY if count else 0)

    async def main() -> Any:
        barrier = asyncio.Barrier(MANY)
        seen = []

        @app.get("/users/<number>")
        async def user(number: int) -> dict[str, int]:
            await barrier.wait()
            seen.append(threading.active_count())
            return {"number": int(number)}

        calls = (call(app, f"/users/{number}") for number in range(MANY))
        bodies = [json.loads(body)["number"] for _, body in await asyncio.gather(*calls)]
        assert bodies == [*range(MANY)]
        return max(seen)

    assert run(main) <= threads_at_most


def test_sync_routes_and_middlewares_mix_with_async_ones() -> None:
    app = APIGatewayHttpResolver()
    order: list[str] = []

    def sync(name: str) -> Callable[..., Any]:
        def middleware(app: Any, next_middleware: Any) -> Response:
            order.append(name)
            response: Response = next_middleware(app)
            order.append(f"/{name}")
            return response

        return middleware

    def awaiting(name: str) -> Callable[..., Any]:
        async def middleware(app: Any, next_middleware: Any) -> Response:
            order.append(name)
            response: Response = await next_middleware(app)
            order.append(f"/{name}")
            return response

        return middleware

    class Async(BaseMiddlewareHandler[Any]):
        async def handler(self, app: Any, next_middleware: Any) -> Response:  # type: ignore[override]
            response: Response = await awaiting("object")(app, next_middleware)
            return response

    @functools.wraps(pass_on)
    def hidden(app: Any, next_middleware: Any) -> Any:
        return awaiting("hidden")(app, next_middleware)

    chain = [sync("a"), awaiting("b"), sync("c"), sync("d"), Async(), hidden, sync("e"), hidden]

    @app.get("/", middlewares=chain)
    def root() -> Any:
        order.append("route")
        return {}

    assert run(lambda: call(app)) == (200, "{}")
    names = ["a", "b", "c", "d", "object", "hidden", "e", "hidden"]
    assert order == [*names, "route", *(f"/{name}" for name in reversed(names))]


class TestErrors:
    def test_a_sync_middleware_that_raises_before_the_next_one(self) -> None:
        app = APIGatewayHttpResolver()
        called = []

        def refuse(app: Any, next_middleware: Any) -> Response:
            raise PermissionError("no")

        @app.exception_handler(PermissionError)
        def on_refusal(error: PermissionError) -> Response:
            return Response(403, "text/plain", f"{error} {app.current_event.path}")

        @app.get("/", middlewares=[pass_on, refuse])
        async def root() -> Any:
            called.append(1)

        assert run(lambda: call(app)) == (403, "no /")
        assert not called

    def test_what_a_route_raises_can_be_caught_in_a_middleware(self) -> None:
        app = APIGatewayHttpResolver()

        def catch(app: Any, next_middleware: Any) -> Response:
            try:
                return pass_on(app, next_middleware)
            except ZeroDivisionError:
                return Response(500, "text/plain", "caught")

        @app.get("/", middlewares=[catch, pass_on])
        async def root() -> Any:
            await asyncio.sleep(0)
            return 1 / 0

        assert run(lambda: call(app)) == (500, "caught")

    def test_a_middleware_that_answers_by_itself(self) -> None:
        app = APIGatewayHttpResolver(enable_validation=True)

        def answer(app: Any, next_middleware: Any) -> Response:
            return Response(202, "text/plain", "later")

        @app.get("/", middlewares=[answer])
        async def root() -> int:
            raise AssertionError

        assert run(lambda: call(app)) == (202, "later")

    def test_what_does_not_validate_never_reaches_middlewares(self) -> None:
        app = APIGatewayHttpResolver(
            enable_validation=True, response_validation_error_http_code=500
        )

        @app.get("/users/<number>", middlewares=[pass_on])
        async def user(number: int) -> int:
            return "no number" if number else 0  # type: ignore[return-value]

        assert run(lambda: call(app, "/users/a"))[0] == 422
        assert run(lambda: call(app, "/users/1"))[0] == 500
        assert run(lambda: call(app, "/users/0")) == (200, "0")

    def test_a_subclass_of_the_validation_is_called_as_a_whole(self) -> None:
        from aws_lambda_powertools.event_handler.middlewares import openapi_validation

        app = APIGatewayHttpResolver(enable_validation=True)

        class Logged(openapi_validation.OpenAPIRequestValidationMiddleware):
            def handler(self, app: Any, next_middleware: Any) -> Response:
                response = super().handler(app, next_middleware)
                response.headers["x-logged"] = "yes"
                return response

        app._request_validation_middleware = Logged()

        @app.get("/users/<number>")
        async def user(number: int) -> int:
            return number

        async def main() -> Any:
            return await app.resolve_async(http_event("/users/3"), LambdaContext(0))

        response = run(main)
        assert (response["body"], response["headers"]["x-logged"]) == ("3", "yes")

    def test_a_middleware_may_try_again_and_from_a_thread_of_its_own(self) -> None:
        app = APIGatewayHttpResolver()
        tries = []

        def again(app: Any, next_middleware: Any) -> Response:
            with ThreadPoolExecutor(1) as pool:
                first = pool.submit(next_middleware, app)
                assert isinstance(first.exception(20), ConnectionError)
                return pass_on(app, next_middleware)

        @app.get("/", middlewares=[again])
        async def root() -> Any:
            tries.append(app.current_event.path)
            if len(tries) == 1:
                raise ConnectionError
            return {}

        assert run(lambda: call(app)) == (200, "{}")
        assert tries == ["/", "/"]


class TestContext:
    def test_routes_see_what_middlewares_set(self) -> None:
        app = APIGatewayHttpResolver()

        def mark(app: Any, next_middleware: Any) -> Response:
            variable.set(app.current_event.headers["mark"])
            app.append_context(mark=variable.get())
            response: Response = next_middleware(app)
            response.headers["x-mark"] = variable.get()
            return response

        @app.get("/", middlewares=[mark, pass_on])
        async def root() -> Any:
            await asyncio.sleep(0)
            return [variable.get(), app.context["mark"]]

        async def main() -> Any:
            calls = (call(app, mark=f"{number}") for number in range(8))
            bodies = [json.loads(body) for _, body in await asyncio.gather(*calls)]
            return bodies, variable.get()

        assert run(main) == ([[f"{n}", f"{n}"] for n in range(8)], "unset")

    def test_dependencies_are_each_calls_and_found_once(self) -> None:
        try:
            from aws_lambda_powertools.event_handler import Depends, Request
        except ImportError:
            pytest.skip("this version has no Depends")
        app = APIGatewayHttpResolver()
        found: list[str] = []

        def token(request: Request) -> str:
            found.append(request.headers["authorization"])
            return found[-1]

        def identity(token: Annotated[str, Depends(token)]) -> str:
            return f"user of {token}"

        # What this module postpones, powertools looks up in globals.
        identity.__annotations__["token"] = Annotated[str, Depends(token)]
        token.__annotations__["request"] = Request

        async def check(app: Any, next_middleware: Any, user: Any) -> Response:
            app.append_context(user=user)
            await barrier[0].wait()
            response: Response = await next_middleware(app)
            return response

        check.__annotations__["user"] = Annotated[str, Depends(identity)]

        async def root(user: Any) -> Any:
            return [user, app.context["user"]]

        root.__annotations__["user"] = Annotated[str, Depends(identity)]
        app.use([check])
        app.get("/")(root)
        barrier: list[asyncio.Barrier] = []

        async def main() -> Any:
            barrier.append(asyncio.Barrier(MANY))
            calls = (call(app, authorization=f"{number}") for number in range(MANY))
            return [json.loads(body) for _, body in await asyncio.gather(*calls)]

        assert run(main) == [[f"user of {n}"] * 2 for n in range(MANY)]
        assert sorted(found, key=int) == [f"{n}" for n in range(MANY)]


class TestCancellation:
    def test_it_reaches_the_route_and_the_middlewares_end_before_the_call(self) -> None:
        app = APIGatewayHttpResolver()
        ended: list[str] = []

        def cleaning(app: Any, next_middleware: Any) -> Response:
            try:
                return pass_on(app, next_middleware)
            except Exception:
                ended.append("taken for an error")
                raise
            finally:
                ended.append("middleware")

        async def main() -> None:
            waiting = asyncio.Event()

            @app.get("/", middlewares=[cleaning, pass_on])
            async def root() -> Any:
                try:
                    waiting.set()
                    await asyncio.sleep(60)
                finally:
                    ended.append("route")

            task = asyncio.create_task(call(app))
            await waiting.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            ended.append("call")
            assert not [each for each in asyncio.all_tasks() if each is not asyncio.current_task()][
                1:
            ]

        run(main)
        assert ended == ["route", "middleware", "call"]

    @pytest.mark.parametrize("swallows", [False, True])
    def test_a_thread_that_comes_late_starts_nothing(self, swallows: bool) -> None:
        app = APIGatewayHttpResolver()
        go, ended = threading.Event(), []

        async def main() -> None:
            loop, entered = asyncio.get_running_loop(), asyncio.Event()

            def slow(app: Any, next_middleware: Any) -> Response:
                loop.call_soon_threadsafe(entered.set)
                go.wait(PATIENCE_S)
                try:
                    return pass_on(app, next_middleware)
                except asyncio.CancelledError:
                    ended.append("told")
                    if swallows:
                        return Response(200)
                    raise

            @app.get("/", middlewares=[slow])
            async def root() -> Any:
                ended.append("route")

            task = asyncio.create_task(call(app))
            await entered.wait()
            task.cancel()
            await asyncio.sleep(0)
            assert not task.done()
            go.set()
            with pytest.raises(asyncio.CancelledError):
                await task

        run(main)
        assert ended == ["told"]

    def test_a_call_that_nobody_finishes_is_closed_anywhere(self) -> None:
        app = APIGatewayHttpResolver()
        ended = []

        @types.coroutine
        def suspended() -> Any:
            yield

        @app.get("/")
        async def root() -> Any:
            try:
                await suspended()
            finally:
                ended.append("route")

        unfinished = app.resolve_async(http_event("/"), LambdaContext(0))
        Context().run(unfinished.send, None)
        unfinished.close()
        assert ended == ["route"]
        assert not app.context

    def test_a_route_that_is_cancelled_by_itself(self) -> None:
        app = APIGatewayHttpResolver()

        @app.get("/", middlewares=[pass_on])
        async def root() -> Any:
            raise asyncio.CancelledError

        async def main() -> None:
            with pytest.raises(asyncio.CancelledError):
                await call(app)

        run(main)

    def test_a_timeout_around_the_call(self) -> None:
        app = APIGatewayHttpResolver(enable_validation=True)

        @app.get("/", middlewares=[pass_on])
        async def root() -> int:
            await asyncio.sleep(60)
            return 1

        async def main() -> Any:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await call(app)
            return app.current_event.path

        assert run(main) == "/"


def test_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")
    app = APIGatewayHttpResolver(enable_validation=True)
    app.use(middlewares(3))
    ended: list[str] = []

    @app.get("/users/<number>")
    async def user(number: int) -> int:
        try:
            await asyncio.sleep(60 if number else 0)
        finally:
            ended.append(app.current_event.path)
        return int(number)

    async def main() -> Any:
        task = asyncio.create_task(call(app, "/users/1"))
        answer = await call(app, "/users/0")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return answer

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == (200, "0")
    assert ended[0] == "/users/0"


@pytest.mark.parametrize("validation", [False, True])
def test_trio(validation: bool) -> None:
    trio = pytest.importorskip("trio")
    app = APIGatewayHttpResolver(enable_validation=validation)

    @app.get("/users/<number>", middlewares=[pass_on])
    async def user(number: int) -> int:
        await trio.sleep(0)
        return int(number)

    assert trio.run(call, app, "/users/3") == (200, "3")
