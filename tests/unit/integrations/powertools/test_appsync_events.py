"""Resolvers of AppSync Events at once: each knows its own event, context and Lambda context."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aws_lambda_powertools.event_handler import AppSyncEventsResolver
from aws_lambda_powertools.event_handler.events_appsync.exceptions import UnauthorizedException
from aws_lambda_powertools.event_handler.events_appsync.router import Router

from lmi_runtime.integrations.safety import make_safe
from tests.support.crowd import LambdaContext, TaskCrowd, ThreadCrowd

make_safe()


def event(number: int, path: str = "/default/sync", operation: str = "PUBLISH") -> dict[str, Any]:
    return {
        "identity": None,
        "request": {"headers": {"number": str(number)}},
        "info": {
            "channel": {"path": path, "segments": path.split("/")[1:]},
            "channelNamespace": {"name": "default"},
            "operation": operation,
        },
        "events": [{"id": f"{number}-{each}", "payload": {"n": number}} for each in range(2)],
        "error": None,
        "prev": None,
        "stash": {},
        "outErrors": [],
    }


class App:
    """An app and a router that tell what they see."""

    def __init__(self) -> None:
        self.app = AppSyncEventsResolver()
        self.router = Router()
        self.app.append_context(start="up")
        self.app.include_router(self.router)

    def seen(self) -> list[Any]:
        app, router = self.app, self.router
        assert app.context == router.context
        return [
            app.current_event.request_headers["number"],
            router.current_event.request_headers["number"],
            app.lambda_context.aws_request_id,
            router.lambda_context.aws_request_id,
            dict(app.context),
        ]


def expected(number: int, **context: Any) -> list[Any]:
    request = f"request-{number}"
    return [str(number), str(number), request, request, {"start": "up", **context}]


def published(number: int, payload: Any) -> dict[str, Any]:
    return {"events": [{"id": f"{number}-{each}", "payload": payload} for each in range(2)]}


@pytest.mark.parametrize("bare", [False, True], ids=["served", "bare"])
class TestThreads:
    def test_published(self, bare: bool) -> None:
        crowd = ThreadCrowd(bare=bare)
        it = App()

        @it.app.on_publish("/default/*")
        def publish(payload: Any) -> Any:
            crowd.meet()
            it.router.append_context(late=payload["n"])
            crowd.meet()
            return it.seen()

        def serve(number: int) -> Any:
            it.app.append_context(early=number)
            crowd.meet()
            return it.app.resolve(event(number), LambdaContext(number))

        assert crowd.serve(serve) == [
            published(n, expected(n, early=n, late=n)) for n in range(crowd.count)
        ]

    def test_subscribed(self, bare: bool) -> None:
        crowd = ThreadCrowd(bare=bare)
        it = App()

        @it.app.on_subscribe("/default/*")
        def subscribe() -> Any:
            crowd.meet()
            raise ValueError(it.seen())

        def serve(number: int) -> Any:
            return it.app.resolve(event(number, operation="SUBSCRIBE"), LambdaContext(number))

        assert crowd.serve(serve) == [
            {"error": f"ValueError - {expected(n)}"} for n in range(crowd.count)
        ]

    def test_async_resolvers_without_a_loop(self, bare: bool) -> None:
        crowd = ThreadCrowd(bare=bare)
        it = App()

        @it.app.async_on_publish("/default/*")
        async def publish(payload: Any) -> Any:
            await asyncio.sleep(0)
            return it.seen()

        def serve(number: int) -> Any:
            crowd.meet()
            return it.app.resolve(event(number), LambdaContext(number))

        assert crowd.serve(serve) == [published(n, expected(n)) for n in range(crowd.count)]


def test_before_and_after() -> None:
    it = App()

    @it.app.on_publish("/default/*")
    def publish(payload: Any) -> Any:
        return it.seen()[0]

    def serve(number: int) -> Any:
        with pytest.raises(AttributeError, match="current_event"):
            it.app.current_event  # noqa: B018
        it.app.append_context(forgotten=True)
        it.app.clear_context()
        assert it.router.context == {}
        it.router.context = {"given": True}
        it.app.resolve(event(number), LambdaContext(number))
        return it.seen()

    assert ThreadCrowd(1).serve(serve) == [expected(0)]


class TestTasks:
    def test_errors_of_awaited_resolvers(self) -> None:
        it = App()

        @it.app.async_on_publish("/default/*", aggregate=True)
        async def publish(payload: Any) -> Any:
            await asyncio.sleep(0)
            raise UnauthorizedException(it.seen()[0])

        async def serve(number: int) -> Any:
            with pytest.raises(UnauthorizedException) as caught:
                await it.app.resolve(event(number), LambdaContext(number))
            return str(caught.value)

        assert TaskCrowd().serve(serve) == [str(n) for n in range(50)]

    @pytest.mark.parametrize("aggregate", [False, True])
    def test_async_resolvers(self, aggregate: bool) -> None:
        crowd = TaskCrowd()
        it = App()

        @it.app.async_on_publish("/default/*", aggregate=aggregate)
        async def publish(payload: Any) -> Any:
            await asyncio.sleep(0)
            it.app.append_context(late=True)
            return [it.seen()]

        async def serve(number: int) -> Any:
            it.app.append_context(early=number)
            answer = it.app.resolve(event(number), LambdaContext(number))
            await crowd.meet()
            return await answer

        saw = [[expected(n, early=n, late=True)] for n in range(crowd.count)]
        assert crowd.serve(serve) == [
            {"events": each} if aggregate else published(n, each) for n, each in enumerate(saw)
        ]

    def test_several_within_one_request(self) -> None:
        it = App()

        @it.app.async_on_publish("/default/*")
        async def publish(payload: Any) -> Any:
            it.app.append_context(own=payload["n"])
            await asyncio.sleep(0)
            return it.seen()

        async def serve(_: int) -> Any:
            calls = [it.app.resolve(event(n), LambdaContext(n)) for n in range(10)]
            return await asyncio.gather(*calls)

        [answers] = TaskCrowd(1).serve(serve)
        assert answers == [published(n, expected(n, own=n)) for n in range(10)]

    def test_plain_resolvers_in_tasks(self) -> None:
        crowd = TaskCrowd()
        it = App()

        @it.app.on_publish("/default/*")
        def publish(payload: Any) -> Any:
            return it.seen()

        async def serve(number: int) -> Any:
            it.app.append_context(early=number)
            await crowd.meet()
            return it.app.resolve(event(number), LambdaContext(number))

        assert crowd.serve(serve) == [
            published(n, expected(n, early=n)) for n in range(crowd.count)
        ]
