"""powertools where calls share an object: routes, batches, idempotent calls, parameters."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
from collections.abc import Callable
from typing import Any

from lmi_runtime.integrations import make_safe
from stress.scenarios.powertools import LambdaContext
from stress.scenarios.scenario import Budget, Scenario, State
from stress.scenarios.serving import fine, requests, serves

__all__ = [
    "batches_of_requests",
    "batches_of_tasks",
    "idempotent_call_of_two",
    "idempotent_call_of_two_tasks",
    "idempotent_calls_within_another",
    "parameter_and_clear",
    "parameter_of_two",
    "route_first_asked_by_two",
    "routes_of_requests",
]

_OURS = ("lmi_runtime.integrations.scopes", "lmi_runtime.integrations.powertools")
_ROUTES = (*_OURS, "aws_lambda_powertools.event_handler.api_gateway")
_BATCH = (*_OURS, "aws_lambda_powertools.utilities.batch")
_IDEMPOTENCY = (*_OURS, "aws_lambda_powertools.utilities.idempotency")
_PARAMETERS = (*_OURS, "aws_lambda_powertools.utilities.parameters")


# --------------------------------------------------------------------------- routes


def _event(path: str) -> dict[str, Any]:
    return {
        "httpMethod": "GET",
        "path": path,
        "headers": {"X-Caller": path},
        "requestContext": {"requestId": path},
    }


def _with_routes() -> State:
    from aws_lambda_powertools.event_handler import APIGatewayRestResolver

    state = requests("a", "b")
    app = state.app = APIGatewayRestResolver()

    def noting(app: Any, next_middleware: Any) -> Any:
        app.append_context(caller=app.current_event.path)
        response = next_middleware(app)
        response.headers["X-Answered"] = app.current_event.path
        return response

    @app.get("/<who>", middlewares=[noting])
    def route(who: str) -> dict[str, Any]:
        return {
            "who": who,
            "caller": app.context["caller"],
            "path": app.current_event.path,
            "id": app.lambda_context.aws_request_id,
        }

    return state


def _resolves(state: State, mine: str) -> None:
    answer = state.app.resolve(_event(f"/{mine}"), LambdaContext(mine))
    body = {"who": mine, "caller": f"/{mine}", "path": f"/{mine}", "id": mine}
    state.seen.append((body, json.loads(answer["body"])))
    headers = answer["multiValueHeaders"]
    state.seen.append(([f"/{mine}"], headers["X-Answered"]))


def _warm(setup: Callable[[], State], code: Callable[[State, str], Any]) -> None:
    """Have imported and worked out what is once a process."""
    logging.getLogger("aws_lambda_powertools").setLevel(logging.WARNING)
    serves("a", code)(setup())


def route_first_asked_by_two() -> Scenario:
    """Two requests are the first of an app: its route is built once, and each gets its answer."""
    make_safe()
    _warm(_with_routes, _resolves)
    both = serves("a", _resolves), serves("b", _resolves)
    return Scenario(_with_routes, both, fine, _ROUTES, Budget(preemptions=1))


def routes_of_requests() -> Scenario:
    """Requests that an app has been built for: event, context and parameters are their own."""
    make_safe()
    _warm(_with_routes, _resolves)

    def setup() -> State:
        state = _with_routes()
        serves("a", _resolves)(state)
        fresh = requests("a", "b")
        fresh.app = state.app
        return fresh

    both = serves("a", _resolves), serves("b", _resolves)
    return Scenario(setup, both, fine, _ROUTES, Budget(preemptions=1))


# --------------------------------------------------------------------------- batches


def _records(mine: str, failing: str) -> dict[str, Any]:
    return {
        "Records": [
            {
                "messageId": f"{mine}-{number}",
                "body": "fail" if number == failing else "",
                "eventSource": "aws:sqs",
            }
            for number in "12"
        ]
    }


def _handled(record: Any) -> str:
    if record.body == "fail":
        raise ValueError(record.message_id)
    return str(record.message_id)


async def _handled_later(record: Any) -> str:
    await asyncio.sleep(0)
    return _handled(record)


def _with_processor() -> State:
    from aws_lambda_powertools.utilities.batch import AsyncBatchProcessor, BatchProcessor, EventType

    state = requests("a", "b")
    state.processor = BatchProcessor(event_type=EventType.SQS)
    state.async_processor = AsyncBatchProcessor(event_type=EventType.SQS)
    return state


def _failures(mine: str, failing: str) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": f"{mine}-{failing}"}]}


_FAILING = {"a": "1", "b": "2"}


def _processes(state: State, mine: str) -> None:
    from aws_lambda_powertools.utilities.batch import process_partial_response

    failing = _FAILING[mine]
    answer = process_partial_response(_records(mine, failing), _handled, state.processor)
    state.seen.append((_failures(mine, failing), answer))


async def _processes_async(state: State, mine: str) -> None:
    from aws_lambda_powertools.utilities.batch import async_process_partial_response

    failing = _FAILING[mine]
    answer = await async_process_partial_response(
        _records(mine, failing), _handled_later, state.async_processor
    )
    state.seen.append((_failures(mine, failing), answer))


def batches_of_requests() -> Scenario:
    """Two requests and one processor: each answer names its own failures."""
    make_safe()
    _warm(_with_processor, _processes)
    both = serves("a", _processes), serves("b", _processes)
    return Scenario(_with_processor, both, fine, _BATCH, Budget(preemptions=1))


def batches_of_tasks() -> Scenario:
    """The same where records are awaited."""
    make_safe()
    _warm(_with_processor, _processes)
    both = serves("a", _processes_async), serves("b", _processes_async)
    return Scenario(_with_processor, both, fine, _BATCH)


# --------------------------------------------------------------------------- idempotency


def _store() -> Any:
    from aws_lambda_powertools.utilities.idempotency.exceptions import (
        IdempotencyItemAlreadyExistsError,
        IdempotencyItemNotFoundError,
    )
    from aws_lambda_powertools.utilities.idempotency.persistence.base import BasePersistenceLayer

    class Memory(BasePersistenceLayer):  # type: ignore[misc]
        """Keeps records as a table would: each step of it is one of the table's."""

        def __init__(self) -> None:
            super().__init__()
            self.records: dict[str, Any] = {}

        def _get_record(self, idempotency_key: str) -> Any:
            try:
                return copy.copy(self.records[idempotency_key])
            except KeyError:
                raise IdempotencyItemNotFoundError from None

        def _put_record(self, data_record: Any) -> None:
            mine = copy.copy(data_record)
            if self.records.setdefault(data_record.idempotency_key, mine) is not mine:
                raise IdempotencyItemAlreadyExistsError

        def _update_record(self, data_record: Any) -> None:
            self.records[data_record.idempotency_key] = copy.copy(data_record)

        def _delete_record(self, data_record: Any) -> None:
            self.records.pop(data_record.idempotency_key, None)

    return Memory()


def _with_calls() -> State:
    from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig, idempotent_function

    state = requests("a", "b")
    state.calls = []
    state.store = _store()
    state.config = IdempotencyConfig(use_local_cache=True)

    def idempotent(function: Callable[..., Any]) -> Any:
        return idempotent_function(
            function,
            data_keyword_argument="data",
            persistence_store=state.store,
            config=state.config,
        )

    def pay(data: str) -> str:
        state.calls.append(data)
        return data

    async def pay_later(data: str) -> str:
        await asyncio.sleep(0)
        state.calls.append(data)
        return data

    state.pay, state.pay_later = idempotent(pay), idempotent(pay_later)

    def order(data: str) -> str:
        return str(state.pay(data=data))

    state.order = idempotent(order)
    return state


def _pays(state: State, mine: str) -> None:
    from aws_lambda_powertools.utilities.idempotency.exceptions import (
        IdempotencyAlreadyInProgressError,
    )

    state.config.register_lambda_context(LambdaContext(mine))
    try:
        state.seen.append(("same", state.pay(data="same")))
    except IdempotencyAlreadyInProgressError:
        state.seen.append((True, True))


async def _pays_later(state: State, mine: str) -> None:
    from aws_lambda_powertools.utilities.idempotency.exceptions import (
        IdempotencyAlreadyInProgressError,
    )

    state.config.register_lambda_context(LambdaContext(mine))
    try:
        state.seen.append(("same", await state.pay_later(data="same")))
    except IdempotencyAlreadyInProgressError:
        state.seen.append((True, True))


def _once(state: State) -> None:
    fine(state)
    assert state.calls == ["same"], state.calls
    statuses = [record.status for record in state.store.records.values()]
    assert statuses == ["COMPLETED"], statuses


def idempotent_call_of_two() -> Scenario:
    """Two requests make the same call: it is made once, whoever of them gets an answer."""
    make_safe()
    _warm(_with_calls, _pays)
    both = serves("a", _pays), serves("b", _pays)
    return Scenario(_with_calls, both, _once, _IDEMPOTENCY, Budget(preemptions=1))


def idempotent_call_of_two_tasks() -> Scenario:
    """The same for functions that are awaited."""
    make_safe()
    _warm(_with_calls, _pays)
    both = serves("a", _pays_later), serves("b", _pays_later)
    return Scenario(_with_calls, both, _once, _IDEMPOTENCY, Budget(preemptions=0))


def idempotent_calls_within_another() -> Scenario:
    """Calls within calls, of two requests at once: every record is named after its function."""
    make_safe()
    _warm(_with_calls, _pays)

    def orders(state: State, mine: str) -> None:
        state.config.register_lambda_context(LambdaContext(mine))
        state.seen.append((mine, state.order(data=mine)))

    def named(state: State) -> None:
        fine(state)
        names = [key.rpartition("#")[0].rpartition(".")[2] for key in state.store.records]
        assert sorted(names) == ["order", "order", "pay", "pay"], names
        assert {record.status for record in state.store.records.values()} == {"COMPLETED"}

    both = serves("a", orders), serves("b", orders)
    return Scenario(_with_calls, both, named, _IDEMPOTENCY, Budget(preemptions=1))


# --------------------------------------------------------------------------- parameters


def _with_provider() -> State:
    from aws_lambda_powertools.utilities.parameters.base import BaseProvider

    state = requests("a", "b")
    state.version, state.fetched = 0, []

    class Provider(BaseProvider):  # type: ignore[misc]
        def _get(self, name: str, **sdk_options: Any) -> str:
            found = json.dumps({"version": state.version, "items": []})
            state.fetched.append(name)
            return found

        def _get_multiple(self, path: str, **sdk_options: Any) -> dict[str, str]:
            return {}

    state.provider = Provider()
    return state


def _asks(state: State, mine: str) -> None:
    value = state.provider.get("p", transform="json", max_age=3600)
    state.seen.append(([], list(value["items"])))
    value["items"].append(mine)  # its own


def parameter_of_two() -> Scenario:
    """Two requests that want one parameter: it is fetched once, and each gets a copy."""
    make_safe()
    _warm(_with_provider, _asks)

    def once(state: State) -> None:
        fine(state)
        assert state.fetched == ["p"], state.fetched

    both = serves("a", _asks), serves("b", _asks)
    return Scenario(_with_provider, both, once, _PARAMETERS, Budget(preemptions=1))


def parameter_and_clear() -> Scenario:
    """What is fetched while the cache is cleared is not cached, nor given to later callers."""
    make_safe()
    _warm(_with_provider, _asks)

    def changes(state: State, mine: str) -> None:
        state.version = 1
        state.provider.clear_cache()
        state.seen.append((1, state.provider.get("p", transform="json", max_age=3600)["version"]))

    def new(state: State) -> None:
        fine(state)
        kept = [entry.value["version"] for entry in state.provider.store.values()]
        assert kept == [1], kept

    both = serves("a", _asks), serves("b", changes)
    return Scenario(_with_provider, both, new, _PARAMETERS)
