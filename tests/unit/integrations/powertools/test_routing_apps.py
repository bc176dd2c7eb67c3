"""What is between calls of ``resolve``, at startup, and what users make of resolvers."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, BedrockAgentResolver
from aws_lambda_powertools.event_handler.api_gateway import BaseRouter, Router

from lmi_runtime.integrations.powertools import make_safe as exported
from lmi_runtime.integrations.safety import make_safe
from tests.support.crowd import COUNT, LambdaContext, ThreadCrowd
from tests.support.http_events import http_event
from tests.support.patience import PATIENCE_S

make_safe()

HAS_ASYNC = hasattr(APIGatewayHttpResolver, "resolve_async")


def resolved(app: Any, path: str = "/", number: int = 0) -> Any:
    return json.loads(app.resolve(http_event(path), LambdaContext(number))["body"])


def with_context() -> Any:
    app = APIGatewayHttpResolver()

    @app.get("/")
    def root() -> Any:
        seen = sorted(name for name in app.context if not name.startswith("_"))
        app.append_context(left="behind")
        return seen

    return app


class TestBetweenCalls:
    @pytest.mark.parametrize("bare", [False, True])
    def test_what_was_there_at_first_is_there_for_every_call(self, bare: bool) -> None:
        app = with_context()
        app.append_context(startup=1)
        router = Router()
        router.append_context(of_router=1)
        app.include_router(router)

        def handle(number: int) -> Any:
            return resolved(app), resolved(app), sorted(app.context)

        seen = ["of_router", "startup"]
        crowd = ThreadCrowd(bare=bare)
        assert crowd.serve(handle) == [(seen, seen, seen)] * COUNT
        assert dict(app.context) == {"startup": 1, "of_router": 1}

    def test_without_requests_only_modules_leave_something(self, tmp_path: Path) -> None:
        """Nothing tells a handler there from what others start with, but an import does."""
        module = tmp_path / "function_with_context.py"
        module.write_text(
            textwrap.dedent("""
            from tests.unit.integrations.powertools.test_routing_apps import with_context, Router

            app = with_context()
            app.append_context(startup=1)
            router = Router()
            router.append_context(of_router=1)
            app.include_router(router)
            router.append_context(late=1)
            """)
        )
        with mock.patch.object(sys, "path", [str(tmp_path), *sys.path]):
            from function_with_context import app  # type: ignore[import-not-found]
        sys.modules.pop("function_with_context")
        seen = []
        for admin in (True, False):
            if admin:
                app.append_context(admin=True)
            seen.append(resolved(app))
        startup = ["late", "of_router", "startup"]
        assert seen == [sorted(["admin", *startup]), startup]
        if HAS_ASYNC:
            app.append_context(admin=True)
            response = asyncio.run(app.resolve_async(http_event("/"), LambdaContext(0)))
            assert json.loads(response["body"]) == sorted(["admin", *startup])
            assert sorted(app.context) == startup
            assert app.current_event.path == "/"

    def test_the_event_can_be_read_after_the_call_and_in_its_request_only(self) -> None:
        app = with_context()

        def handle(number: int) -> Any:
            before = getattr(app, "current_event", None)
            resolved(app, f"/{number}", number)
            return before, app.current_event.path, app.lambda_context.aws_request_id

        expected = [(None, f"/{number}", f"request-{number}") for number in range(COUNT)]
        assert ThreadCrowd().serve(handle) == expected

    def test_the_event_can_be_read_after_a_loop_of_its_own(self) -> None:
        if not HAS_ASYNC:
            pytest.skip("this version has no resolve_async")
        app = with_context()

        def handle(number: int) -> Any:
            asyncio.run(app.resolve_async(http_event(f"/{number}"), LambdaContext(number)))
            return app.current_event.path

        assert ThreadCrowd().serve(handle) == [f"/{number}" for number in range(COUNT)]

    def test_a_failed_call_leaves_nothing(self) -> None:
        app = with_context()

        @app.get("/fails")
        def fails() -> Any:
            app.append_context(secret=1)
            raise ZeroDivisionError

        def handle(number: int) -> Any:
            app.append_context(before=1)
            with pytest.raises(ZeroDivisionError):
                resolved(app, "/fails")
            return resolved(app), app.context

        assert ThreadCrowd(1).serve(handle) == [([], {})]

    def test_before_any_call_there_is_no_event(self) -> None:
        def handle(number: int) -> None:
            for thing in (with_context(), Router(), BaseRouter):
                with pytest.raises(AttributeError, match="no 'current_event' before resolve"):
                    thing.current_event  # noqa: B018

        ThreadCrowd(1).serve(handle)

    def test_an_app_made_within_a_request_serves_others_too(self) -> None:
        apps: list[Any] = []

        def handle(number: int) -> Any:
            if not apps:
                apps.append(with_context())
            return resolved(apps[0])

        for _ in range(2):
            assert ThreadCrowd(1).serve(handle) == [[]]


class TestUsers:
    def test_test_tools_put_back_what_they_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        event: Any = object()
        app = with_context()
        with monkeypatch.context() as patch:
            patch.setattr(BaseRouter, "current_event", event, raising=False)
            assert app.current_event is event
        with mock.patch.object(BaseRouter, "current_event", event):
            assert Router().current_event is event
        assert getattr(app, "current_event", None) is not event
        app.current_event = event
        assert app.current_event is event
        del BaseRouter.current_event

    def test_an_event_set_on_the_app_is_the_requests(self) -> None:
        crowd = ThreadCrowd()

        class Own(APIGatewayHttpResolver):
            def resolve(self, event: Any, context: Any) -> dict[str, Any]:
                self.current_event = self._to_proxy_event({**event, "rawPath": "/mine"})
                return super().resolve(event, context)

        app = Own()

        @app.get("/mine")
        def mine() -> Any:
            crowd.meet()
            return [app.current_event["headers"]["number"]]

        def handle(number: int) -> Any:
            event = http_event("/other", number=f"{number}")
            return json.loads(app.resolve(event, LambdaContext(number))["body"])

        assert crowd.serve(handle) == [[f"{number}"] for number in range(COUNT)]

    def test_state_on_the_app_is_told_of_once(self, caplog: pytest.LogCaptureFixture) -> None:
        class Stateful(APIGatewayHttpResolver):
            def resolve(self, event: Any, context: Any) -> dict[str, Any]:
                self.tenant = context.aws_request_id
                self.client = getattr(self, "client", None) or object()
                return super().resolve(event, context)

        app = Stateful()
        for number in range(4):
            resolved(app, number=number)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "Stateful sets 'tenant' on itself" in record.getMessage()
        assert "app.append_context(tenant=...)" in record.getMessage()

    def test_a_context_elsewhere_is_told_of_once(self, caplog: pytest.LogCaptureFixture) -> None:
        class Elsewhere(APIGatewayHttpResolver):
            mine: dict[str, Any] = {}  # noqa: RUF012
            lambda_context = None  # type: ignore[assignment]

            def append_context(self, **additional_context: Any) -> None:
                self.mine.update(additional_context)
                super(APIGatewayHttpResolver, self).append_context(**additional_context)

            def clear_context(self) -> None:
                self.mine.clear()

        app = Elsewhere()
        for number in range(2):
            resolved(app, number=number)
        said = [record.getMessage() for record in caplog.records]
        assert [text.split(" ", 1)[0].rpartition(".")[2] for text in said] == [
            "Elsewhere",
            "clear_context",
        ]
        assert "'lambda_context' of its own" in said[0]
        assert "super().clear_context(...)" in said[1]

    def test_nothing_is_said_of_what_is_fine(self, caplog: pytest.LogCaptureFixture) -> None:
        class Fine(APIGatewayHttpResolver):
            def append_context(self, **additional_context: Any) -> None:
                super().append_context(**additional_context, fine=True)

            def resolve(self, event: Any, context: Any) -> dict[str, Any]:
                self.append_context(mine=1)
                return super().resolve(event, context)

        app = Fine()

        @app.get("/")
        def root() -> Any:
            return [app.context["fine"], app.context["mine"]]

        assert [resolved(app) for _ in range(3)] == [[True, 1]] * 3
        assert not caplog.records

    def test_bedrock_agents_are_apart(self) -> None:
        crowd = ThreadCrowd()
        app = BedrockAgentResolver()

        @app.get("/claims", description="claims")
        def claims() -> Any:
            app.append_context(session=app.current_event.session_id)
            crowd.meet()
            return [app.current_event.session_id, app.context["session"]]

        def handle(number: int) -> Any:
            event = {
                "messageVersion": "1.0",
                "sessionId": f"{number}",
                "apiPath": "/claims",
                "httpMethod": "GET",
                "actionGroup": "group",
                "agent": {},
                "inputText": "",
                "parameters": [],
                "sessionAttributes": {},
                "promptSessionAttributes": {},
            }
            answer = app.resolve(event, LambdaContext(number))["response"]
            return json.loads(answer["responseBody"]["application/json"]["body"])

        assert crowd.serve(handle) == [[f"{n}", f"{n}"] for n in range(COUNT)]


class TestHttpResolverLocal:
    @pytest.fixture
    def app(self) -> Any:
        http_resolver = pytest.importorskip("aws_lambda_powertools.event_handler.http_resolver")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return http_resolver.HttpResolverLocal()

    def test_calls_of_resolve_are_apart(self, app: Any) -> None:
        crowd = ThreadCrowd()
        app.append_context(startup=1)

        @app.get("/users/<number>")
        def user(number: str) -> Any:
            app.append_context(number=number)
            crowd.meet()
            return [app.current_event.path, app.context["number"], app.context["before"]]

        def handle(number: int) -> Any:
            app.append_context(before=number)
            crowd.meet()
            event = {"httpMethod": "GET", "path": f"/users/{number}", "headers": {}}
            body = json.loads(app.resolve(event, LambdaContext(number))["body"])
            return body, len(app.context)

        assert crowd.serve(handle) == [([f"/users/{n}", f"{n}", n], 1) for n in range(COUNT)]
        assert app.context == {"startup": 1}

    def test_requests_over_asgi_are_apart_as_ever(self, app: Any) -> None:
        router = Router()
        app.append_context(startup=1)
        sent: dict[str, Any] = {}
        barrier: list[asyncio.Barrier] = []

        @router.get("/users/<number>")
        async def user(number: str) -> Any:
            router.append_context(number=number)
            await barrier[0].wait()
            return [router.current_event.path, app.context["number"], app.context["startup"]]

        app.include_router(router)

        async def call(number: int) -> None:
            path = f"/users/{number}"

            async def receive() -> dict[str, Any]:
                return {"type": "http.request", "body": b""}

            async def send(message: dict[str, Any]) -> None:
                if message["type"] == "http.response.body":
                    sent[path] = json.loads(message["body"])

            await app({"type": "http", "method": "GET", "path": path}, receive, send)

        async def main() -> None:
            barrier.append(asyncio.Barrier(8))
            await asyncio.wait_for(
                asyncio.gather(*(call(number) for number in range(8))), PATIENCE_S
            )

        asyncio.run(main())
        assert sent == {f"/users/{n}": [f"/users/{n}", f"{n}", 1] for n in range(8)}


def test_apps_that_were_there_before_are_made_safe_too() -> None:
    script = """
        import json
        from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
        from aws_lambda_powertools.event_handler.api_gateway import Router
        from tests.support.crowd import COUNT, LambdaContext, ThreadCrowd
        from tests.support.http_events import http_event

        app, router = APIGatewayHttpResolver(), Router()
        router.append_context(startup=1)

        @router.get("/users/<number>")
        def user(number: str) -> dict:
            router.append_context(number=number)
            crowd.meet()
            return [app.current_event.path, app.context["number"], router.context["startup"]]

        app.include_router(router)
        app.append_context(more=1)
        from lmi_runtime.integrations.powertools import make_safe
        make_safe()
        crowd = ThreadCrowd()

        def handle(number):
            path = f"/users/{number}"
            return json.loads(app.resolve(http_event(path), LambdaContext(number))["body"])

        assert crowd.serve(handle) == [[f"/users/{n}", f"{n}", 1] for n in range(COUNT)]
        assert app.context == {"startup": 1, "more": 1}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert exported is make_safe
