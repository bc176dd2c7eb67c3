"""Resolvers of Bedrock agents at once, with functions and with an API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_lambda_powertools.event_handler import BedrockAgentFunctionResolver, BedrockAgentResolver

from lmi_runtime.integrations.safety import make_safe
from tests.support.crowd import LambdaContext, TaskCrowd, ThreadCrowd

make_safe()


def function_event(number: int, function: str = "look") -> dict[str, Any]:
    return {
        "messageVersion": "1.0",
        "agent": {"alias": "A", "name": "agent", "version": "1", "id": "I"},
        "sessionId": f"session-{number}",
        "inputText": "text",
        "actionGroup": f"group-{number}",
        "function": function,
        "parameters": [{"name": "own", "type": "integer", "value": str(number)}],
        "sessionAttributes": {"of": str(number)},
        "promptSessionAttributes": {},
    }


def api_event(number: int) -> dict[str, Any]:
    event = function_event(number)
    del event["function"]
    return {
        **event,
        "apiPath": "/look",
        "httpMethod": "GET",
        "parameters": [{"name": "own", "type": "string", "value": str(number)}],
    }


def answered(response: dict[str, Any]) -> Any:
    [body] = response["response"]["functionResponse"]["responseBody"].values()
    return response["response"]["actionGroup"], response["sessionAttributes"], body["body"]


def tell(app: Any, *more: Any) -> Any:
    appended = {name: value for name, value in app.context.items() if not name.startswith("_")}
    return [app.current_event.session_id, appended, *more]


@pytest.fixture
def app() -> Any:
    made = BedrockAgentFunctionResolver()
    made.append_context(start="up")
    return made


@pytest.mark.parametrize("bare", [False, True], ids=["served", "bare"])
def test_functions_in_threads(app: Any, bare: bool) -> None:
    crowd = ThreadCrowd(bare=bare)

    @app.tool()
    def look(own: int) -> Any:
        crowd.meet()
        app.append_context(late=own)
        crowd.meet()
        return tell(app, own)

    def serve(number: int) -> Any:
        app.append_context(early=number)
        crowd.meet()
        group, attributes, body = answered(app.resolve(function_event(number), None))
        crowd.meet()
        return group, attributes, json.loads(body), app.current_event.session_id, app.context

    assert crowd.serve(serve) == [
        (
            f"group-{n}",
            {"of": str(n)},
            [f"session-{n}", {"start": "up", "early": n, "late": n}, n],
            f"session-{n}",
            {"start": "up"},
        )
        for n in range(crowd.count)
    ]


def test_functions_in_tasks(app: Any) -> None:
    crowd = TaskCrowd()

    @app.tool()
    def look(own: int) -> Any:
        return tell(app, own)

    async def serve(number: int) -> Any:
        app.append_context(early=number)
        await crowd.meet()
        answer = answered(app.resolve(function_event(number), None))
        await crowd.meet()
        return json.loads(answer[2]), app.current_event.session_id

    assert crowd.serve(serve) == [
        ([f"session-{n}", {"start": "up", "early": n}, n], f"session-{n}")
        for n in range(crowd.count)
    ]


def test_functions_within_functions_and_after_errors(app: Any) -> None:
    @app.tool()
    def outer(own: int) -> Any:
        app.append_context(own="outer")
        inner = answered(app.resolve(function_event(7, "inner"), None))
        return [inner[2], *tell(app, own)]

    @app.tool()
    def inner(own: int) -> Any:
        app.append_context(own="inner")
        raise ValueError(app.current_event.session_id)

    def serve(number: int) -> Any:
        return json.loads(answered(app.resolve(function_event(number, "outer"), None))[2])

    answers = ThreadCrowd(1).serve(serve)
    failed = json.dumps("Error: ValueError: session-7")
    assert answers == [[failed, "session-0", {"start": "up", "own": "outer"}, 0]]


def test_apps_that_were_made_in_a_request_serve_others() -> None:
    made: list[Any] = []

    def make(_: int) -> None:
        made.append(BedrockAgentFunctionResolver())
        made[0].tool()(look)

    def look(own: int) -> Any:
        return tell(made[0], own)

    ThreadCrowd(1).serve(make)

    def serve(number: int) -> Any:
        assert made[0].current_event is None
        return json.loads(answered(made[0].resolve(function_event(number), None))[2])

    assert ThreadCrowd().serve(serve) == [[f"session-{n}", {}, n] for n in range(50)]


def agent_app() -> Any:
    made = BedrockAgentResolver()
    made.append_context(start="up")
    return made


def agent_answer(response: dict[str, Any]) -> Any:
    [body] = response["response"]["responseBody"].values()
    return response["response"]["actionGroup"], json.loads(body["body"])


@pytest.mark.parametrize("bare", [False, True], ids=["served", "bare"])
def test_agents_in_threads(bare: bool) -> None:
    crowd = ThreadCrowd(bare=bare)
    app = agent_app()

    @app.get("/look", description="Looks.")
    def look(own: int) -> list[Any]:
        crowd.meet()
        app.append_context(late=own)
        crowd.meet()
        return list(tell(app, own, app.lambda_context.aws_request_id))

    def serve(number: int) -> Any:
        app.append_context(early=number)
        crowd.meet()
        return agent_answer(app.resolve(api_event(number), LambdaContext(number)))

    assert crowd.serve(serve) == [
        (
            f"group-{n}",
            [f"session-{n}", {"start": "up", "early": n, "late": n}, n, f"request-{n}"],
        )
        for n in range(crowd.count)
    ]


def test_agents_in_tasks() -> None:
    crowd = TaskCrowd()
    app = agent_app()

    @app.get("/look", description="Looks.")
    def look(own: int) -> list[Any]:
        return list(tell(app, own))

    async def serve(number: int) -> Any:
        app.append_context(early=number)
        await crowd.meet()
        return agent_answer(app.resolve(api_event(number), LambdaContext(number)))

    assert crowd.serve(serve) == [
        (f"group-{n}", [f"session-{n}", {"start": "up", "early": n}, n]) for n in range(crowd.count)
    ]
