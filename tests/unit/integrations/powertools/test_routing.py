"""Event handlers for HTTP at once: each call of ``resolve`` knows its own event and context."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import pytest
from aws_lambda_powertools import event_handler
from aws_lambda_powertools.event_handler import ALBResolver, APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.api_gateway import BaseRouter, CORSConfig, Router
from aws_lambda_powertools.event_handler.exceptions import BadRequestError, NotFoundError
from aws_lambda_powertools.event_handler.middlewares import BaseMiddlewareHandler

from lmi_runtime.integrations.safety import make_safe
from tests.support.crowd import COUNT, LambdaContext, TaskCrowd, ThreadCrowd
from tests.support.http_events import EVENTS, http_event
from tests.support.patience import PATIENCE_S

make_safe()

Served = Callable[[Callable[[int], Any]], list[Any]]


def body_of(response: dict[str, Any]) -> Any:
    return json.loads(response["body"])


@pytest.fixture(params=["requests", "bare"])
def bare(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "bare")


class Meeting:
    """Where all calls of a crowd are at the same time; nowhere, outside of a crowd."""

    def __init__(self) -> None:
        self.meet: Callable[[], None] = lambda: None

    def serve(self, handle: Callable[[int], Any], *, bare: bool) -> list[Any]:
        crowd = ThreadCrowd(bare=bare)
        self.meet = crowd.meet
        return crowd.serve(handle)


@pytest.fixture
def meeting() -> Meeting:
    return Meeting()


class TestThreads:
    @pytest.mark.parametrize("name", EVENTS)
    def test_each_resolver_knows_its_own_event(
        self, name: str, meeting: Meeting, bare: bool
    ) -> None:
        app = getattr(event_handler, name)()

        @app.get("/users/<number>")
        def user(number: str) -> Any:
            meeting.meet()
            app.append_context(seen=number)
            meeting.meet()
            return {
                "route": number,
                "path": app.current_event.path,
                "id": app.lambda_context.aws_request_id,
                "context": app.context["seen"],
            }

        def handle(number: int) -> Any:
            return body_of(app.resolve(EVENTS[name](f"/users/{number}"), LambdaContext(number)))

        assert meeting.serve(handle, bare=bare) == [
            {"route": f"{n}", "path": f"/users/{n}", "id": f"request-{n}", "context": f"{n}"}
            for n in range(COUNT)
        ]

    def test_middlewares_and_what_they_leave_for_routes_are_each_calls(
        self, meeting: Meeting, bare: bool
    ) -> None:
        app = APIGatewayHttpResolver()

        def authenticate(app: Any, next_middleware: Any) -> Response:
            app.append_context(user=app.current_event.headers["authorization"])
            meeting.meet()
            response: Response = next_middleware(app)
            meeting.meet()
            response.headers["x-user"] = app.context["user"]
            return response

        class Stamp(BaseMiddlewareHandler[Any]):
            def handler(self, app: Any, next_middleware: Any) -> Response:
                response: Response = next_middleware(app)
                response.headers["x-path"] = app.current_event.path
                return response

        app.use([authenticate])

        @app.get("/users/<number>", middlewares=[Stamp()])
        def user(number: str) -> Any:
            meeting.meet()
            return {"user": app.context["user"], "number": number}

        def handle(number: int) -> Any:
            event = http_event(f"/users/{number}", authorization=f"user {number}")
            response = app.resolve(event, LambdaContext(number))
            return body_of(response), response["headers"]["x-user"], response["headers"]["x-path"]

        assert meeting.serve(handle, bare=bare) == [
            ({"user": f"user {n}", "number": f"{n}"}, f"user {n}", f"/users/{n}")
            for n in range(COUNT)
        ]

    @pytest.mark.parametrize("where", ["app", "route"])
    def test_validated_bodies_are_each_calls(
        self, where: str, meeting: Meeting, bare: bool
    ) -> None:
        app = APIGatewayHttpResolver(enable_validation=where == "app")
        options: dict[str, Any] = {} if where == "app" else {"enable_validation": True}
        try:
            register = app.post("/users/<number>", **options)
        except TypeError:
            pytest.skip("this version validates apps only")

        def wait(app: Any, next_middleware: Any) -> Response:
            meeting.meet()  # between validation and the route
            response: Response = next_middleware(app)
            return response

        app.use([wait])

        @register
        def user(number: int, body: dict[str, int]) -> dict[str, int]:
            return {"route": number, "body": body["number"]}

        def handle(number: int) -> Any:
            event = http_event(f"/users/{number}", method="POST", body={"number": number})
            return body_of(app.resolve(event, LambdaContext(number)))

        assert meeting.serve(handle, bare=bare) == [{"route": n, "body": n} for n in range(COUNT)]

    def test_what_a_handler_appends_before_is_its_calls_alone(
        self, meeting: Meeting, bare: bool
    ) -> None:
        app = APIGatewayHttpResolver()

        @app.get("/")
        def root() -> Any:
            return app.context.get("admin")

        def handle(number: int) -> Any:
            seen = []
            for admin in (number, None):
                if admin is not None:
                    app.append_context(admin=admin)
                meeting.meet()
                seen.append(body_of(app.resolve(http_event("/"), LambdaContext(number))))
                meeting.meet()
            return seen, dict(app.context)

        assert meeting.serve(handle, bare=bare) == [([n, None], {}) for n in range(COUNT)]

    def test_routers_see_the_call_they_serve(self, meeting: Meeting, bare: bool) -> None:
        router, app, other = Router(), APIGatewayHttpResolver(), ALBResolver()
        router.append_context(stage="prod")

        @router.get("/users/<number>")
        def user(number: str) -> Any:
            router.append_context(mine=number)
            meeting.meet()
            return {
                "path": router.current_event.path,
                "id": router.lambda_context.aws_request_id,
                "context": [router.context["mine"], router.context["stage"]],
            }

        app.include_router(router, prefix="/v1")
        other.include_router(router, prefix="/v1")

        def handle(number: int) -> Any:
            path = f"/v1/users/{number}"
            if number % 2:
                return body_of(app.resolve(http_event(path), LambdaContext(number)))
            return body_of(other.resolve(EVENTS["ALBResolver"](path), LambdaContext(number)))

        assert meeting.serve(handle, bare=bare) == [
            {"path": f"/v1/users/{n}", "id": f"request-{n}", "context": [f"{n}", "prod"]}
            for n in range(COUNT)
        ]

    def test_dependencies_are_each_calls_and_found_once(self, meeting: Meeting, bare: bool) -> None:
        if not hasattr(event_handler, "Depends"):
            pytest.skip("this version has no Depends")
        app = APIGatewayHttpResolver()
        found: list[str] = []

        def token(request: Any) -> str:
            found.append(request.headers["authorization"])
            meeting.meet()
            return str(request.headers["authorization"])

        def identity(token: Any) -> str:
            return f"user of {token}"

        def check(app: Any, next_middleware: Any, user: Any) -> Response:
            app.append_context(user=user)
            meeting.meet()
            response: Response = next_middleware(app)
            return response

        def root(user: Any) -> Any:
            return [user, app.context["user"], app.request.headers["authorization"]]

        # What this module postpones, powertools looks up in globals.
        depends: Any = event_handler.Depends
        token.__annotations__["request"] = event_handler.Request
        identity.__annotations__["token"] = Annotated[str, depends(token)]
        check.__annotations__["user"] = Annotated[str, depends(identity)]
        root.__annotations__["user"] = Annotated[str, depends(identity)]
        app.use([check])
        app.get("/")(root)

        def handle(number: int) -> Any:
            event = http_event("/", authorization=f"{number}")
            return body_of(app.resolve(event, LambdaContext(number)))

        assert meeting.serve(handle, bare=bare) == [
            [f"user of {n}", f"user of {n}", f"{n}"] for n in range(COUNT)
        ]
        assert sorted(found, key=int) == [f"{n}" for n in range(COUNT)]

    def test_errors_are_handled_for_the_call_that_raised_them(
        self, meeting: Meeting, bare: bool
    ) -> None:
        app = APIGatewayHttpResolver(cors=CORSConfig("https://a.example"))

        @app.exception_handler(ValueError)
        def on_value_error(error: ValueError) -> Response:
            meeting.meet()
            return Response(418, "text/plain", f"{error} {app.current_event.path}")

        @app.not_found
        def on_not_found(error: NotFoundError) -> Response:
            meeting.meet()
            return Response(404, "text/plain", f"nothing at {app.current_event.path}")

        @app.get("/fails/<number>")
        def fails(number: str) -> Any:
            raise ValueError(number)

        @app.get("/bad/<number>")
        def bad(number: str) -> Any:
            meeting.meet()
            raise BadRequestError(number)

        def handle(number: int) -> Any:
            path = f"/{('fails', 'nowhere', 'bad')[number % 3]}/{number}"
            response = app.resolve(http_event(path), LambdaContext(number))
            return response["statusCode"], response["body"]

        assert meeting.serve(handle, bare=bare) == [
            (
                (418, f"{n} /fails/{n}"),
                (404, f"nothing at /nowhere/{n}"),
                (400, f'{{"statusCode":400,"message":"{n}"}}'),
            )[n % 3]
            for n in range(COUNT)
        ]

    def test_a_shared_response_and_shared_headers_take_nothing_from_a_call(
        self, meeting: Meeting, bare: bool
    ) -> None:
        origins = [f"https://{number}.example" for number in range(COUNT)]
        app = APIGatewayHttpResolver(cors=CORSConfig(origins[0], origins[1:]))
        kept = Response(200, "application/json", {"kept": True}, headers={"x": "shared"})
        shared_headers = {"x": "shared"}

        def stamp(app: Any, next_middleware: Any) -> Response:
            response: Response = next_middleware(app)
            response.headers["x-path"] = app.current_event.path
            meeting.meet()
            return response

        app.use([stamp])

        @app.get("/kept/<number>")
        def from_module(number: str) -> Response:
            return kept

        @app.get("/made/<number>")
        def made(number: str) -> Response:
            return Response(200, "application/json", {"kept": False}, headers=shared_headers)

        def handle(number: int) -> Any:
            path = f"/{'kept' if number % 2 else 'made'}/{number}"
            response = app.resolve(http_event(path, origin=origins[number]), None)  # type: ignore[arg-type]
            headers = response["headers"]
            return (
                body_of(response),
                headers["Access-Control-Allow-Origin"],
                headers["x-path"].rpartition("/")[2],
            )

        assert meeting.serve(handle, bare=bare) == [
            ({"kept": bool(n % 2)}, origins[n], str(n)) for n in range(COUNT)
        ]
        assert kept.body == {"kept": True}
        assert kept.headers == {"x": "shared", "Content-Type": "application/json"}
        assert "x-path" not in shared_headers

    def test_debug_output_is_about_its_own_call(self, bare: bool, capsys: Any) -> None:
        app = APIGatewayHttpResolver(debug=True)

        @app.get("/ok")
        def ok() -> Any:
            return {}

        app.resolve(http_event("/ok"), None)  # type: ignore[arg-type]
        assert capsys.readouterr().out.count("next call chain is") == 1
        assert len(app.processed_stack_frames) == 1


class TestTasks:
    @pytest.fixture(autouse=True)
    def _has_async(self) -> None:
        if not hasattr(APIGatewayHttpResolver, "resolve_async"):
            pytest.skip("this version has no resolve_async")

    @pytest.mark.parametrize("name", EVENTS)
    def test_each_resolver_knows_its_own_event(self, name: str, bare: bool) -> None:
        app = getattr(event_handler, name)()
        crowds: list[TaskCrowd] = []

        @app.get("/users/<number>")
        async def user(number: str) -> Any:
            await crowds[0].meet()
            app.append_context(seen=number)
            await crowds[0].meet()
            return {
                "route": number,
                "path": app.current_event.path,
                "id": app.lambda_context.aws_request_id,
                "context": app.context["seen"],
            }

        async def handle(number: int) -> Any:
            event = EVENTS[name](f"/users/{number}")
            response = await app.resolve_async(event, LambdaContext(number))
            return body_of(response), app.current_event.path

        crowds.append(TaskCrowd(bare=bare))
        assert crowds[0].serve(handle) == [
            (
                {"route": f"{n}", "path": f"/users/{n}", "id": f"request-{n}", "context": f"{n}"},
                f"/users/{n}",
            )
            for n in range(COUNT)
        ]

    @pytest.mark.parametrize("validation", ["none", "app", "route"])
    def test_middlewares_of_all_kinds_are_each_calls(self, validation: str, bare: bool) -> None:
        app = APIGatewayHttpResolver(enable_validation=validation == "app")
        crowd = TaskCrowd(bare=bare)

        async def authenticate(app: Any, next_middleware: Any) -> Response:
            app.append_context(user=app.current_event.headers["authorization"])
            await crowd.meet()
            response: Response = await next_middleware(app)
            await crowd.meet()
            response.headers["x-user"] = app.context["user"]
            return response

        def stamp(app: Any, next_middleware: Any) -> Response:
            app.append_context(stamp=app.current_event.path)
            response: Response = next_middleware(app)
            response.headers["x-path"] = app.context["stamp"]
            return response

        class Count(BaseMiddlewareHandler[Any]):
            def handler(self, app: Any, next_middleware: Any) -> Response:
                response: Response = next_middleware(app)
                response.headers["x-frames"] = str(len(app.processed_stack_frames))
                return response

        app.use([authenticate, stamp])
        options: dict[str, Any] = {"enable_validation": True} if validation == "route" else {}

        @app.get("/users/<number>", middlewares=[Count()], **options)
        async def user(number: int) -> dict[str, Any]:
            await crowd.meet()
            return {"user": app.context["user"], "number": int(number)}

        async def handle(number: int) -> Any:
            event = http_event(f"/users/{number}", authorization=f"user {number}")
            response = await app.resolve_async(event, LambdaContext(number))
            headers = response["headers"]
            return body_of(response), headers["x-user"], headers["x-path"], headers["x-frames"]

        frames = "4" if validation == "none" else "6"
        assert crowd.serve(handle) == [
            ({"user": f"user {n}", "number": n}, f"user {n}", f"/users/{n}", frames)
            for n in range(COUNT)
        ]

    def test_calls_gathered_in_one_request_do_not_mix(self, bare: bool) -> None:
        app = APIGatewayHttpResolver()
        barrier: list[asyncio.Barrier] = []

        @app.get("/users/<number>")
        async def user(number: str) -> Any:
            app.append_context(number=number)
            await barrier[0].wait()
            return [number, app.context["number"], app.current_event.path, app.context["before"]]

        async def handle(number: int) -> Any:
            app.append_context(before=number)
            barrier.append(asyncio.Barrier(8))
            events = [http_event(f"/users/{each}") for each in range(8)]
            return await asyncio.gather(
                *(app.resolve_async(event, LambdaContext(0)) for event in events)
            )

        (responses,) = TaskCrowd(1, bare=bare).serve(handle)
        assert [body_of(response) for response in responses] == [
            [f"{n}", f"{n}", f"/users/{n}", 0] for n in range(8)
        ]

    def test_tasks_that_resolve_as_before_are_apart(self, bare: bool) -> None:
        app = APIGatewayHttpResolver()
        crowd = TaskCrowd(bare=bare)

        @app.get("/users/<number>")
        def user(number: str) -> Any:
            return [number, app.context["before"]]

        async def handle(number: int) -> Any:
            app.append_context(before=number)
            await crowd.meet()
            response = app.resolve(http_event(f"/users/{number}"), LambdaContext(number))
            await crowd.meet()
            return body_of(response), app.current_event.path

        assert crowd.serve(handle) == [([f"{n}", n], f"/users/{n}") for n in range(COUNT)]


class TestWithinACall:
    def test_helper_threads_and_tasks_share_what_the_call_knows(self, bare: bool) -> None:
        app = APIGatewayHttpResolver()
        pool = ThreadPoolExecutor(1)

        def look(name: str) -> Any:
            app.append_context(**{name: True})
            return app.current_event.path

        async def look_in_tasks() -> Any:
            return await asyncio.gather(asyncio.to_thread(look, "to_thread"), look_in_task())

        async def look_in_task() -> Any:
            return look("task")

        @app.get("/helped")
        def helped() -> Any:
            seen = [pool.submit(look, "pool").result(), *asyncio.run(look_in_tasks())]
            thread = threading.Thread(target=lambda: seen.append(look("thread")))
            thread.start()
            thread.join()
            return [seen, sorted(name for name in app.context if not name.startswith("_"))]

        def handle(number: int) -> Any:
            return body_of(app.resolve(http_event("/helped"), LambdaContext(number)))

        (body,) = ThreadCrowd(1, bare=bare).serve(handle)
        pool.shutdown()
        assert body == [["/helped"] * 4, ["pool", "task", "thread", "to_thread"]]

    def test_a_thread_that_stays_keeps_no_call(self, bare: bool) -> None:
        app = APIGatewayHttpResolver()
        go, seen = threading.Event(), []

        def stay() -> None:
            go.wait(PATIENCE_S)
            seen.append((getattr(app, "current_event", None), dict(app.context)))

        thread = threading.Thread(target=stay)

        @app.get("/")
        def root() -> Any:
            app.append_context(mine=1)
            thread.start()
            return {}

        ThreadCrowd(1, bare=bare).serve(lambda n: app.resolve(http_event("/"), LambdaContext(n)))
        go.set()
        thread.join()
        assert seen == [(None, {})]

    def test_an_app_within_an_apps_route_leaves_it_as_it_was(self) -> None:
        outer, inner = APIGatewayHttpResolver(), APIGatewayHttpResolver()

        @inner.get("/inner")
        def inside() -> Any:
            outer.append_context(told="by inner")
            inner.append_context(only="inner")
            return [inner.current_event.path, "_route" in outer.context]

        @outer.get("/outer")
        def outside() -> Any:
            body = body_of(inner.resolve(http_event("/inner"), LambdaContext(2)))
            again = body_of(outer.resolve(http_event("/again"), LambdaContext(3)))
            return {
                "inner": body,
                "again": again,
                "path": outer.current_event.path,
                "id": outer.lambda_context.aws_request_id,
                "told": outer.context["told"],
                "only": outer.context.get("only"),
                "path of context": outer.context["_path"],
            }

        @outer.get("/again")
        def again() -> Any:
            return [outer.current_event.path, outer.context["_path"], outer.context["told"]]

        def handle(number: int) -> Any:
            return body_of(outer.resolve(http_event("/outer"), LambdaContext(1)))

        for crowd in (ThreadCrowd(1), ThreadCrowd(1, bare=True)):
            assert crowd.serve(handle) == [
                {
                    "inner": ["/inner", True],
                    "again": ["/again", "/again", "by inner"],
                    "path": "/outer",
                    "id": "request-1",
                    "told": "by inner",
                    "only": None,
                    "path of context": "/outer",
                }
            ]

    def test_what_is_set_on_the_class_is_the_calls(self) -> None:
        class Own(APIGatewayHttpResolver):
            def resolve(self, event: Any, context: Any) -> dict[str, Any]:
                BaseRouter.current_event = self._to_proxy_event(event)
                BaseRouter.lambda_context = context
                return self._resolve().build(self.current_event, self._cors)

        app = Own()
        meeting = Meeting()

        @app.get("/users/<number>")
        def user(number: str) -> Any:
            meeting.meet()
            return [app.current_event.path, BaseRouter.lambda_context.aws_request_id]

        def handle(number: int) -> Any:
            return body_of(app.resolve(http_event(f"/users/{number}"), LambdaContext(number)))

        assert meeting.serve(handle, bare=False) == [
            [f"/users/{n}", f"request-{n}"] for n in range(COUNT)
        ]
