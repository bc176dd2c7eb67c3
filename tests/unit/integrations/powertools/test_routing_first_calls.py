"""What routes build when they are first called is built once, however many call them first."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.openapi import dependant
from pydantic import BaseModel

from lmi_runtime.integrations.safety import make_safe
from tests.support.crowd import LambdaContext, ThreadCrowd
from tests.support.http_events import http_event
from tests.support.patience import PATIENCE_S

make_safe()

FIRST = 4
HAS_ASYNC = hasattr(APIGatewayHttpResolver, "resolve_async")


class Rendezvous:
    """Where those who build meet, if there is more than one of them."""

    def __init__(self) -> None:
        self.visits = 0
        self._barrier = threading.Barrier(2)

    def __call__(self) -> None:
        self.visits += 1
        with contextlib.suppress(threading.BrokenBarrierError):
            self._barrier.wait(0.1)


class Named:
    """A middleware: the names of middlewares are asked for while they are put together."""

    def __init__(self, rendezvous: Rendezvous) -> None:
        self._rendezvous = rendezvous

    @property
    def __name__(self) -> str:
        self._rendezvous()
        return "named"

    def __call__(self, app: Any, next_middleware: Any) -> Response:
        response: Response = next_middleware(app)
        return response


def served_at_once(handle: Callable[[int], Any], count: int = FIRST) -> list[Any]:
    crowd = ThreadCrowd(count)

    def after_meeting(number: int) -> Any:
        crowd.meet()
        return handle(number)

    return crowd.serve(after_meeting)


@pytest.mark.parametrize("validation", [False, True])
def test_a_chain_of_middlewares_is_put_together_once(validation: bool) -> None:
    app = APIGatewayHttpResolver(enable_validation=validation)
    rendezvous = Rendezvous()
    app.use([Named(rendezvous)])

    @app.get("/users/<number>")
    def user(number: str) -> dict[str, Any]:
        return {"number": number}

    def handle(number: int) -> Any:
        response = app.resolve(http_event(f"/users/{number}"), LambdaContext(number))
        return json.loads(response["body"]), len(app.processed_stack_frames)

    frames = 4 if validation else 2
    expected = [({"number": f"{number}"}, frames) for number in range(FIRST)]
    assert served_at_once(handle) == expected
    assert served_at_once(handle) == expected
    assert rendezvous.visits


def test_a_chain_that_could_not_be_put_together_leaves_nothing() -> None:
    app = APIGatewayHttpResolver()
    names = ["ok"]

    class Fails:
        @property
        def __name__(self) -> str:
            if len(names) == 1:
                names.append("later")
                raise RuntimeError("not yet")
            return "fails"

        def __call__(self, app: Any, next_middleware: Any) -> Response:
            response: Response = next_middleware(app)
            return response

    def outermost(app: Any, next_middleware: Any) -> Response:
        response: Response = next_middleware(app)
        return response

    @app.get("/", middlewares=[outermost, Fails()])
    def root() -> Any:
        return {}

    with pytest.raises(RuntimeError, match="not yet"):
        app.resolve(http_event("/"), LambdaContext(0))
    assert app.resolve(http_event("/"), LambdaContext(0))["statusCode"] == 200
    assert len(app.processed_stack_frames) == 3


def test_what_a_route_takes_is_found_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    app = APIGatewayHttpResolver(enable_validation=True)
    rendezvous = Rendezvous()
    original = dependant.get_dependant

    def meeting_others(*args: Any, **kwargs: Any) -> Any:
        rendezvous()
        return original(*args, **kwargs)

    monkeypatch.setattr(dependant, "get_dependant", meeting_others)

    @app.get("/users/<number>")
    def user(number: int) -> dict[str, int]:
        return {"number": number}

    def handle(number: int) -> Any:
        return json.loads(app.resolve(http_event(f"/users/{number}"), LambdaContext(0))["body"])

    assert served_at_once(handle) == [{"number": number} for number in range(FIRST)]
    assert rendezvous.visits == 1


class Todo(BaseModel):
    title: str


def _described() -> APIGatewayHttpResolver:
    app = APIGatewayHttpResolver(enable_validation=True)
    responses: Any = {200: {"description": "found", "content": {"text/x": {"model": Todo}}}}

    @app.post("/todos", responses=responses)
    def create(todo: Todo) -> Todo:
        return todo

    @app.put("/todos/<number>")
    def change(number: int, todo: Todo) -> list[Todo]:
        return [todo] * number

    return app


def test_schemas_are_the_same_for_all_who_ask_first(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = _described().get_openapi_json_schema()
    app = _described()
    rendezvous = Rendezvous()
    original = dependant.get_body_field

    def meeting_others(*args: Any, **kwargs: Any) -> Any:
        rendezvous()
        return original(*args, **kwargs)

    monkeypatch.setattr(dependant, "get_body_field", meeting_others)
    assert served_at_once(lambda _: app.get_openapi_json_schema()) == [expected] * FIRST
    assert rendezvous.visits == 2  # one a route


def test_schemas_of_several_files_are_merged_once(tmp_path: Path) -> None:
    merge = pytest.importorskip("aws_lambda_powertools.event_handler.openapi.merge")
    (tmp_path / "handler.py").write_text(
        textwrap.dedent("""
        from aws_lambda_powertools.event_handler import APIGatewayHttpResolver

        app = APIGatewayHttpResolver()

        @app.get("/merged")
        def merged() -> int:
            return 1
        """)
    )
    rendezvous = Rendezvous()

    class Meeting(merge.OpenAPIMerge):  # type: ignore[name-defined, misc]
        def _merge_schemas(self) -> Any:
            rendezvous()
            return super()._merge_schemas()

    merged = Meeting(title="t", version="1", on_conflict="error")
    merged.discover(tmp_path)
    schemas = served_at_once(lambda _: merged.get_openapi_schema())
    assert [[*schema["paths"]] for schema in schemas] == [["/merged"]] * FIRST
    assert rendezvous.visits == 1


@pytest.mark.skipif(not HAS_ASYNC, reason="this version has no resolve_async")
def test_loops_in_threads_never_see_half_of_the_validation() -> None:
    rendezvous = Rendezvous()

    class Halfway(APIGatewayHttpResolver):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "_request_validation_middleware":
                rendezvous()

    app = Halfway()

    @app.get("/users/<number>", enable_validation=True)
    async def user(number: int) -> dict[str, int]:
        return {"number": number}

    def handle(number: int) -> Any:
        event = http_event(f"/users/{number}")
        response = asyncio.run(app.resolve_async(event, LambdaContext(number)))
        return json.loads(response["body"]), len(app.processed_stack_frames)

    assert served_at_once(handle) == [({"number": number}, 3) for number in range(FIRST)]
    assert rendezvous.visits == 1


_FRESH = """
    import json, threading
    from lmi_runtime.integrations.powertools import make_safe

    make_safe()
    from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
    from tests.support.http_events import http_event
    from tests.support.patience import PATIENCE_S

    app = APIGatewayHttpResolver({app})

    @app.get("/users/<number>"{route})
    def user(number: int) -> dict[str, int]:
        return {{"number": int(number)}}

    barrier, bodies = threading.Barrier(8), []

    def call(number):
        for _ in range(2):
            barrier.wait(PATIENCE_S)
            bodies.append(json.loads(app.resolve(http_event(f"/users/{{number}}"), None)["body"]))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(body["number"] for body in bodies) == sorted([*range(8)] * 2), bodies
"""


@pytest.mark.parametrize("where", ["app", "route"])
def test_eight_first_calls_of_a_process(where: str) -> None:
    if where == "route" and not HAS_ASYNC:
        pytest.skip("this version validates apps only")
    options = {"app": "", "route": "", where: "enable_validation=True"}
    if options["route"]:
        options["route"] = f", {options['route']}"
    script = textwrap.dedent(_FRESH).format(**options)
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
