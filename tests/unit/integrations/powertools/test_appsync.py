"""AppSync resolvers at once: each knows its own event, context and Lambda context."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from aws_lambda_powertools.event_handler import AppSyncResolver
from aws_lambda_powertools.event_handler.graphql_appsync.exceptions import InvalidBatchResponse
from aws_lambda_powertools.event_handler.graphql_appsync.router import Router

from lmi_runtime.integrations.safety import make_safe
from tests.support.crowd import LambdaContext, TaskCrowd, ThreadCrowd

make_safe()


def event(number: int, field: str = "get", **arguments: Any) -> dict[str, Any]:
    return {
        "typeName": "Query",
        "fieldName": field,
        "info": {"fieldName": field, "parentTypeName": "Query"},
        "arguments": arguments,
        "source": {"number": number},
        "identity": None,
        "request": {"headers": {}},
    }


def batch(number: int, field: str, count: int = 3) -> list[dict[str, Any]]:
    return [event(number * 100 + each, field, n=each) for each in range(count)]


class App:
    """An app and a router that tell what they see."""

    def __init__(self) -> None:
        self.app = AppSyncResolver()
        self.router = Router()
        self.app.append_context(start="up")

        @self.router.resolver(field_name="routed")
        def routed() -> Any:
            return self.seen()

        self.app.include_router(self.router)

    def seen(self) -> list[Any]:
        app, router = self.app, self.router
        assert router.current_event is not None
        assert app.current_event is not None
        assert app.lambda_context is not None
        assert router.lambda_context is not None
        assert app.context == router.context
        return [
            app.current_event.source["number"],
            router.current_event.source["number"],
            Router.current_event.source["number"],  # type: ignore[union-attr]
            app.lambda_context.aws_request_id,
            router.lambda_context.aws_request_id,
            dict(app.context),
        ]


def expected(number: int, **context: Any) -> list[Any]:
    request = f"request-{number}"
    return [number, number, number, request, request, {"start": "up", **context}]


@pytest.mark.parametrize("bare", [False, True], ids=["served", "bare"])
class TestThreads:
    @pytest.mark.parametrize("field", ["get", "routed"])
    def test_what_resolvers_see(self, bare: bool, field: str) -> None:
        crowd = ThreadCrowd(bare=bare)
        it = App()

        def see(**_: Any) -> Any:
            crowd.meet()
            before = it.seen()
            it.router.append_context(late=before[0])
            crowd.meet()
            return it.seen()

        it.app.resolver(field_name=field)(see)

        def serve(number: int) -> Any:
            it.app.append_context(early=number)
            crowd.meet()
            return it.app.resolve(event(number, field), LambdaContext(number))

        answers = crowd.serve(serve)
        assert answers == [expected(n, early=n, late=n) for n in range(crowd.count)]

    def test_batches(self, bare: bool) -> None:
        crowd = ThreadCrowd(bare=bare)
        it = App()

        @it.app.batch_resolver(field_name="many")
        def many(event: list[Any]) -> list[Any]:
            crowd.meet()
            return [each.source["number"] for each in it.router.current_batch_event] + [
                each.source["number"] for each in event
            ]

        def serve(number: int) -> Any:
            return it.app.resolve(batch(number, "many"), LambdaContext(number))  # type: ignore[arg-type]

        answers = crowd.serve(serve)
        assert answers == [[n * 100, n * 100 + 1, n * 100 + 2] * 2 for n in range(crowd.count)]

    def test_async_batches_without_a_loop(self, bare: bool) -> None:
        crowd = ThreadCrowd(bare=bare)
        it = App()

        @it.app.async_batch_resolver(field_name="many", aggregate=False)
        async def many(event: Any, n: int) -> Any:
            await asyncio.sleep(0)
            return len(it.app.current_batch_event), event.source["number"]

        def serve(number: int) -> Any:
            crowd.meet()
            return it.app.resolve(batch(number, "many"), LambdaContext(number))  # type: ignore[arg-type]

        answers = crowd.serve(serve)
        assert answers == [[(3, n * 100 + each) for each in range(3)] for n in range(crowd.count)]

    def test_after_an_error(self, bare: bool) -> None:
        it = App()

        @it.app.resolver(field_name="get")
        def get(fail: bool) -> Any:
            it.app.append_context(secret="of the first")
            if fail:
                raise ValueError("as asked")
            return it.seen()

        @it.app.resolver(field_name="look")
        def look() -> Any:
            return it.seen()

        def serve(number: int) -> Any:
            it.app.append_context(early=1)
            with pytest.raises(ValueError, match="as asked"):
                it.app.resolve(event(number, fail=True), LambdaContext(number))
            return it.app.resolve(event(number, "look"), LambdaContext(number))

        assert ThreadCrowd(1, bare=bare).serve(serve) == [expected(0)]

    def test_what_is_there_afterwards(self, bare: bool) -> None:
        crowd = ThreadCrowd(bare=bare)
        it = App()

        @it.app.resolver(field_name="get")
        def get() -> None:
            crowd.meet()

        def serve(number: int) -> Any:
            assert it.app.current_event is None
            assert it.app.current_batch_event == []
            it.app.resolve(event(number), LambdaContext(number))
            crowd.meet()
            return it.seen()

        assert crowd.serve(serve) == [expected(n) for n in range(crowd.count)]


class TestTasks:
    def test_what_async_resolvers_see(self) -> None:
        crowd = TaskCrowd()
        it = App()

        @it.app.resolver(field_name="get")
        async def get() -> Any:
            await crowd.meet()
            it.app.append_context(late=it.seen()[0])
            await crowd.meet()
            return it.seen()

        async def serve(number: int) -> Any:
            it.app.append_context(early=number)
            await crowd.meet()
            return await it.app.resolve(event(number), LambdaContext(number))

        answers = crowd.serve(serve)
        assert answers == [expected(n, early=n, late=n) for n in range(crowd.count)]

    @pytest.mark.parametrize("aggregate", [False, True])
    def test_async_batches(self, aggregate: bool) -> None:
        crowd = TaskCrowd()
        it = App()

        @it.app.async_batch_resolver(field_name="many", aggregate=aggregate)
        async def many(event: Any, n: int = 0) -> Any:
            if n == 0:
                await crowd.meet()
            seen = [each.source["number"] for each in it.app.current_batch_event]
            assert it.app.lambda_context is not None
            return [it.app.lambda_context.aws_request_id, seen]

        async def serve(number: int) -> Any:
            return await it.app.resolve(batch(number, "many"), LambdaContext(number))  # type: ignore[arg-type]

        seen = [[f"request-{n}", [n * 100, n * 100 + 1, n * 100 + 2]] for n in range(crowd.count)]
        assert crowd.serve(serve) == [each if aggregate else [each] * 3 for each in seen]

    def test_errors_of_awaited_resolvers_find_their_handlers(self) -> None:
        it = App()

        @it.app.exception_handler(InvalidBatchResponse)
        def handle(error: Exception) -> str:
            return f"handled for {it.app.current_batch_event[0].source['number']}"

        @it.app.async_batch_resolver(field_name="many")
        async def many(event: Any) -> Any:
            return "no list"

        @it.app.async_batch_resolver(field_name="bad", raise_on_error=True, aggregate=False)
        async def bad(event: Any, n: int) -> Any:
            raise LookupError("nobody handles this")

        async def serve(number: int) -> Any:
            with pytest.raises(LookupError, match="nobody"):
                await it.app.resolve(batch(number, "bad"), LambdaContext(number))  # type: ignore[arg-type]
            return await it.app.resolve(batch(number, "many"), LambdaContext(number))  # type: ignore[arg-type]

        assert TaskCrowd().serve(serve) == [f"handled for {n * 100}" for n in range(50)]

    def test_several_within_one_request(self) -> None:
        it = App()
        barrier = asyncio.Barrier(10)

        @it.app.resolver(field_name="get")
        async def get(own: int) -> Any:
            it.app.append_context(own=own)
            await barrier.wait()
            return it.seen()

        async def serve(_: int) -> Any:
            calls = [it.app.resolve(event(n, own=n), LambdaContext(n)) for n in range(10)]
            return await asyncio.gather(*calls)

        [answers] = TaskCrowd(1).serve(serve)
        assert answers == [expected(n, own=n) for n in range(10)]

    def test_one_within_another(self) -> None:
        it = App()

        @it.app.resolver(field_name="outer")
        async def outer() -> Any:
            it.app.append_context(own="outer")
            inner = await it.app.resolve(event(7, "inner"), LambdaContext(7))
            return inner, it.seen()

        @it.app.resolver(field_name="inner")
        async def inner() -> Any:
            it.app.append_context(own="inner")
            return it.seen()

        async def serve(number: int) -> Any:
            return await it.app.resolve(event(number, "outer"), LambdaContext(number))

        [(inner_saw, outer_saw)] = TaskCrowd(1).serve(serve)
        assert inner_saw[:5] == expected(7)[:5]
        assert inner_saw[5]["own"] == "inner"
        assert outer_saw == expected(0, own="outer")

    def test_apps_within_apps_know_their_own(self) -> None:
        first, second = App(), App()

        @first.app.resolver(field_name="get")
        def get() -> Any:
            return second.app.resolve(event(7), LambdaContext(7)), first.seen()

        @second.app.resolver(field_name="get")
        def get_there() -> Any:
            assert first.app.current_event is not None
            return first.app.current_event.source["number"], second.seen()

        async def serve(number: int) -> Any:
            return first.app.resolve(event(number), LambdaContext(number))

        [((seen_from_there, inner_saw), outer_saw)] = TaskCrowd(1).serve(serve)
        assert (seen_from_there, inner_saw, outer_saw) == (0, expected(7), expected(0))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_trio(backend: str) -> None:
    it = App()

    @it.app.resolver(field_name="get")
    async def get() -> Any:
        await anyio.lowlevel.checkpoint()
        return it.seen()

    async def serve() -> Any:
        return await it.app.resolve(event(3), LambdaContext(3))

    assert anyio.run(serve, backend=backend) == expected(3)


def test_a_call_that_nobody_finishes_is_closed_anywhere() -> None:
    app = AppSyncResolver()

    @app.resolver(field_name="get")
    async def get() -> None:
        await Endless()

    class Endless:
        def __await__(self) -> Any:
            yield

    def begin() -> Any:
        awaited = app.resolve(event(1), LambdaContext(1))
        awaited.send(None)
        return awaited

    Context().run(begin).close()


def test_outside_requests_it_is_as_documented() -> None:
    app = AppSyncResolver()
    app.append_context(is_admin=True)

    @app.resolver(field_name="get")
    async def get() -> Any:
        assert app.current_event is not None
        return app.current_event.source["number"], dict(app.context)

    assert asyncio.run(app(event(5), LambdaContext(5))) == (5, {"is_admin": True})


def test_outside_requests_threads_see_the_event_as_well() -> None:
    app = AppSyncResolver()
    router = Router()

    @router.resolver(field_name="get")
    def get() -> Any:
        def look() -> Any:
            assert app.current_event is not None
            assert router.current_event is not None
            return app.current_event.source["number"], router.current_event.source["number"]

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(look).result()

    app.include_router(router)
    assert app(event(5), LambdaContext(5)) == (5, 5)
    assert app(event(6), LambdaContext(6)) == (6, 6)


class Custom(AppSyncResolver):
    """A resolver of a user's, which resolves more than once."""

    def resolve(self, event: Any, context: Any, *args: Any) -> Any:
        return [super(Custom, self).resolve(each, context, *args) for each in event]


def test_subclasses() -> None:
    app = Custom()
    crowd = ThreadCrowd()

    @app.resolver(field_name="get")
    def get() -> Any:
        crowd.meet()
        assert app.current_event is not None
        return app.current_event.source["number"]

    def serve(number: int) -> Any:
        return app([event(number), event(number + 100)], LambdaContext(number))  # type: ignore[arg-type]

    assert crowd.serve(serve) == [[n, n + 100] for n in range(crowd.count)]
