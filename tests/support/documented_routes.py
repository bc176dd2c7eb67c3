"""
What powertools documents of its event handlers for HTTP, called one at a time.

Run as ``python -m tests.support.documented_routes [safe]``, it prints every answer, to be compared
with and without `make_safe`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import warnings
from typing import Annotated, Any

__all__: list[str] = []


def main() -> None:
    """Print a line for each call."""
    warnings.simplefilter("ignore")
    if "safe" in sys.argv:
        from lmi_runtime.integrations.powertools import make_safe

        make_safe()
    for name, app, event in _calls():
        answer = _answer(app.resolve, event)
        print(name, json.dumps(answer, sort_keys=True))
        if hasattr(app, "resolve_async"):
            print(name, "async", json.dumps(_answer(app.resolve_async, event), sort_keys=True))
        # Old versions kept what a call that failed had appended.
        context = {*app.context} if isinstance(answer, dict) else set()
        print(name, sorted(context), len(app.processed_stack_frames), app.current_event.path)


def _answer(resolve: Any, event: Any) -> Any:
    from tests.support.crowd import LambdaContext

    try:
        answer = resolve(event, LambdaContext(1))
        return asyncio.run(answer) if asyncio.iscoroutine(answer) else answer
    except Exception as error:
        return [type(error).__name__, str(error)]


def _calls() -> Any:
    from tests.support.http_events import EVENTS, http_event

    app = _app(validates=False)
    for path in ("/todos", "/todos/3", "/nowhere", "/teapot", "/fails", "/logo", "/big", "/moved"):
        headers = {"origin": "https://b.example", "accept_encoding": "gzip"}
        yield path, app, http_event(f"/api{path}", **headers)
    yield "preflight", app, http_event("/api/todos", method="OPTIONS", origin="https://b.example")
    yield "create", app, http_event("/api/todos", method="POST", body={"title": "x"})
    yield "routed", app, http_event("/api/v1/routed/3")
    yield "early", app, http_event("/api/early")
    yield "dump", app, http_event("/api/dump")
    validating = _app(validates=True)
    for number in ("3", "three"):
        yield f"valid {number}", validating, http_event(f"/api/valid/{number}")
    for body in ({"title": "x"}, {"title": 3}, None):
        yield f"body {body}", validating, http_event("/api/checked", method="POST", body=body)
    yield "response", validating, http_event("/api/wrong")
    yield "spec", validating, http_event("/api/swagger")
    for name, event in EVENTS.items():
        yield name, _resolver(name), event("/users/3")
    yield "debug", _debugging(), http_event("/fails")


def _app(*, validates: bool) -> Any:
    from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, CORSConfig, Response
    from aws_lambda_powertools.event_handler.exceptions import NotFoundError, ServiceError
    from aws_lambda_powertools.event_handler.openapi.params import Path
    from aws_lambda_powertools.event_handler.router import APIGatewayHttpRouter
    from aws_lambda_powertools.shared.cookies import Cookie
    from pydantic import BaseModel

    cors = CORSConfig("https://a.example", ["https://b.example"], allow_credentials=True)
    options: dict[str, Any] = {"response_validation_error_http_code": 500} if validates else {}
    app = APIGatewayHttpResolver(
        cors=cors, strip_prefixes=["/api"], enable_validation=validates, **options
    )

    def stamp(app: Any, next_middleware: Any) -> Any:
        app.append_context(stamped=True)
        response = next_middleware(app)
        response.headers["x-stamp"] = app.current_event.path
        return response

    def refuse(app: Any, next_middleware: Any) -> Any:
        return Response(401, "text/plain", "early")

    app.use([stamp])

    class Todo(BaseModel):
        title: str

    @app.get("/todos", compress=True, cache_control="max-age=300")
    def todos() -> dict[str, Any]:
        return {"todos": [1, 2], "stamped": app.context["stamped"]}

    @app.get("/todos/<number>", cors=False)
    def todo(number: str) -> Any:
        return {"number": number}, 201

    @app.post("/todos")
    def create() -> dict[str, Any]:
        return {"title": app.current_event.json_body["title"]}

    @app.get("/teapot")
    def teapot() -> Any:
        raise ServiceError(418, "teapot")

    @app.get("/fails")
    def fails() -> Any:
        raise ZeroDivisionError("fails")

    @app.get("/logo")
    def logo() -> Any:
        return Response(200, "image/png", b"\x00\x01", compress=False)

    @app.get("/big")
    def big() -> Any:
        return Response(200, "text/plain", "big" * 100, headers={"x": ["1", "2"]}, compress=True)

    @app.get("/moved")
    def moved() -> Any:
        return Response(303, headers={"Location": "/"}, cookies=[Cookie("name", "value")])

    @app.get("/early", middlewares=[refuse])
    def early() -> Any:
        raise AssertionError

    @app.get("/dump")
    def dump() -> Any:
        raise KeyError("dump")

    @app.exception_handler(KeyError)
    def on_key_error(error: KeyError) -> Response:
        return Response(422, "application/json", {"key": str(error)})

    @app.not_found
    def on_not_found(error: NotFoundError) -> Response:
        return Response(404, "text/plain", "nothing here")

    if validates:

        def valid(number: Any) -> dict[str, Any]:
            return {"number": number}

        valid.__annotations__["number"] = Annotated[int, Path(lt=10)]
        app.get("/valid/<number>")(valid)

        def checked(todo: Any) -> Any:
            return todo

        checked.__annotations__.update(todo=Todo, **{"return": Todo})
        app.post("/checked")(checked)

        @app.get("/wrong")
        def wrong() -> int:
            return "wrong"  # type: ignore[return-value]

        app.enable_swagger(path="/swagger")

    router = APIGatewayHttpRouter()
    router.append_context(of_router=True)

    @router.get("/routed/<number>", middlewares=[stamp])
    def routed(number: str) -> Any:
        return {"n": number, "c": router.context.get("of_router"), "r": router.current_event.path}

    app.include_router(router, prefix="/v1")
    return app


def _resolver(name: str) -> Any:
    from aws_lambda_powertools import event_handler

    app = getattr(event_handler, name)()

    @app.get("/users/<number>")
    def user(number: str) -> Any:
        return {"number": number, "path": app.current_event.path}

    return app


def _debugging() -> Any:
    from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response

    app = APIGatewayHttpResolver(debug=True, serializer=lambda value: f"<{value}>")

    @app.get("/fails")
    def fails() -> Response:
        return Response(200, "application/json", {"a": 1})

    return app


if __name__ == "__main__":
    main()
