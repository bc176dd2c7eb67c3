"""Powertools' own stores against stand-ins for AWS and a real Redis, sixteen requests at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

pytest.importorskip("boto3")
pytest.importorskip("aws_lambda_powertools")
pytest.importorskip("moto.server")
redis = pytest.importorskip("redis")

import boto3  # type: ignore[import-untyped]  # noqa: E402
from aws_lambda_powertools.utilities import idempotency, parameters  # noqa: E402
from aws_lambda_powertools.utilities.idempotency import (  # noqa: E402
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
)
from aws_lambda_powertools.utilities.idempotency.exceptions import (  # noqa: E402
    IdempotencyAlreadyInProgressError,
)
from aws_lambda_powertools.utilities.idempotency.persistence.cache import (  # noqa: E402
    CachePersistenceLayer,
)
from botocore.config import Config  # type: ignore[import-untyped]  # noqa: E402

from lmi_runtime.integrations import make_safe  # noqa: E402
from lmi_runtime.integrations.powertools.parameters import off_loop  # noqa: E402
from tests.support.aws_environ import be_nobody  # noqa: E402
from tests.support.crowd import LambdaContext, TaskCrowd, ThreadCrowd  # noqa: E402
from tests.support.moto_server import moto  # noqa: E402
from tests.support.redis_server import RedisServer  # noqa: E402

COUNT = 16

pytestmark = [
    pytest.mark.system,
    pytest.mark.filterwarnings("ignore:Couldn't determine the remaining time left"),
    # Which is another name of the one to be used.
    pytest.mark.filterwarnings("ignore:RedisCachePersistenceLayer will be removed"),
]


@pytest.fixture(autouse=True, scope="module")
def _safe() -> None:
    make_safe()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with moto() as url:
        yield url


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> Iterator[None]:
    be_nobody(monkeypatch, AWS_DEFAULT_REGION="eu-central-1", AWS_ENDPOINT_URL=endpoint)
    parameters.clear_caches()
    yield
    parameters.clear_caches()


class Calls:
    """Counts what a client asks for, by operation."""

    def __init__(self, client: Any) -> None:
        self.counts: dict[str, int] = {}
        client.meta.events.register("before-call.*.*", self._called)

    def _called(self, model: Any, **_: Any) -> None:
        self.counts[model.name] = self.counts.get(model.name, 0) + 1


def _table(name: str) -> Any:
    client = boto3.client("dynamodb", config=Config(max_pool_connections=COUNT))
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return client


@pytest.fixture(params=["dynamodb", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "dynamodb":
        client = _table("records")
        yield DynamoDBPersistenceLayer("records", boto3_client=client)
        client.delete_table(TableName="records")
        client.close()
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    client = redis.Redis.from_url(server.url, decode_responses=True)
    yield CachePersistenceLayer(client=client)
    client.flushall()
    client.close()


def statuses(store: Any) -> list[str]:
    if isinstance(store, DynamoDBPersistenceLayer):
        items = store.client.scan(TableName="records")["Items"]
        return sorted(item["status"]["S"] for item in items)
    values = [store.client.get(key) for key in store.client.scan_iter()]
    return sorted(json.loads(value)["status"] for value in values)


class TestIdempotency:
    @pytest.fixture
    def config(self) -> IdempotencyConfig:
        return IdempotencyConfig(event_key_jmespath="id", use_local_cache=True)

    def test_threads_with_one_key(self, store: Any, config: IdempotencyConfig) -> None:
        crowd = ThreadCrowd(COUNT)
        calls: list[int] = []

        @idempotency.idempotent(persistence_store=store, config=config)
        def handler(event: dict[str, Any], context: Any) -> Any:
            calls.append(event["number"])
            crowd.meet()
            return {"of": event["number"]}

        def handle(number: int) -> Any:
            try:
                return handler({"id": 1, "number": number}, LambdaContext(number))
            except IdempotencyAlreadyInProgressError:
                crowd.meet()
                return None

        answers = [answer for answer in crowd.serve(handle) if answer is not None]
        assert answers == [{"of": calls[0]}]
        assert len(calls) == 1
        assert statuses(store) == ["COMPLETED"]
        again = crowd.serve(lambda number: handler({"id": 1}, LambdaContext(number)))
        assert again == answers * COUNT

    def test_tasks_with_one_key(self, store: Any, config: IdempotencyConfig) -> None:
        crowd = TaskCrowd(COUNT)
        calls: list[int] = []

        @idempotency.idempotent(persistence_store=store, config=config)
        async def handler(event: dict[str, Any], context: Any) -> Any:
            calls.append(event["number"])
            await crowd.meet()
            return {"of": event["number"]}

        async def handle(number: int) -> Any:
            try:
                return await handler({"id": 1, "number": number}, LambdaContext(number))
            except IdempotencyAlreadyInProgressError:
                await crowd.meet()
                return None

        answers = [answer for answer in crowd.serve(handle) if answer is not None]
        assert answers == [{"of": calls[0]}]
        assert len(calls) == 1
        assert statuses(store) == ["COMPLETED"]

    def test_tasks_with_keys_of_their_own_and_calls_within(
        self, store: Any, config: IdempotencyConfig
    ) -> None:
        crowd = TaskCrowd(COUNT)

        @idempotency.idempotent_function(
            data_keyword_argument="data", persistence_store=store, config=config
        )
        async def inner(*, data: dict[str, int]) -> int:
            await crowd.meet()
            return data["id"]

        @idempotency.idempotent(persistence_store=store, config=config)
        async def handler(event: dict[str, Any], context: Any) -> Any:
            return {"inner": await inner(data=event)}

        answers = crowd.serve(lambda number: handler({"id": number}, LambdaContext(number)))
        assert answers == [{"inner": number} for number in range(COUNT)]
        assert statuses(store) == ["COMPLETED"] * 2 * COUNT

    @pytest.mark.anyio
    async def test_a_cancelled_handler_may_be_called_again(
        self, store: Any, config: IdempotencyConfig
    ) -> None:
        scopes: list[anyio.CancelScope] = []

        @idempotency.idempotent(persistence_store=store, config=config)
        async def handler(event: dict[str, Any], context: Any) -> Any:
            if scopes:
                scopes.pop().cancel()
                await anyio.sleep_forever()
            return "done"

        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await handler({"id": 1}, LambdaContext(1))
        assert statuses(store) == []
        assert await handler({"id": 1}, LambdaContext(2)) == "done"


class TestParameters:
    @pytest.fixture
    def ssm(self) -> Iterator[Any]:
        client = boto3.client("ssm", config=Config(max_pool_connections=COUNT))
        for name in ("a", "b"):
            client.put_parameter(
                Name=f"/shop/{name}", Value='{"of": []}', Type="String", Overwrite=True
            )
        yield client
        client.close()

    def test_parameters(self, ssm: Any) -> None:
        provider = parameters.SSMProvider(boto3_client=ssm)
        calls = Calls(ssm)
        crowd = ThreadCrowd(COUNT)

        def handle(number: int) -> Any:
            crowd.meet()
            one = provider.get("/shop/a", transform="json")
            many = provider.get_multiple("/shop", transform="json")
            named = provider.get_parameters_by_name({"/shop/a": {}}, transform="json")
            found = [one["of"], many["b"]["of"], named["/shop/a"]["of"]]
            for each in found:
                each.append(number)
            crowd.meet()
            return found

        assert crowd.serve(handle) == [[[number]] * 3 for number in range(COUNT)]
        assert calls.counts == {"GetParameter": 1, "GetParametersByPath": 1, "GetParameters": 1}

    def test_default_providers_off_the_loop(self, ssm: Any) -> None:
        client = boto3.client("secretsmanager")
        client.create_secret(Name="secret", SecretString='{"of": []}')
        client.close()
        crowd = TaskCrowd(COUNT)

        async def handle(number: int) -> Any:
            await crowd.meet()
            one = await off_loop(parameters.get_parameter, "/shop/a", transform="json")
            secret = await off_loop(parameters.get_secret, "secret", transform="json")
            for each in (one, secret):
                each["of"].append(number)
            await crowd.meet()
            return one["of"] + secret["of"]

        assert crowd.serve(handle) == [[number] * 2 for number in range(COUNT)]
        providers = parameters.base.DEFAULT_PROVIDERS
        for provider in providers.values():
            provider.client.close()

    def test_what_is_set_and_fetched_by_force(self, ssm: Any) -> None:
        provider = parameters.SSMProvider(boto3_client=ssm)
        crowd = ThreadCrowd(8)

        def handle(number: int) -> Any:
            name = f"/mine/{number}"
            provider.set(name, str(number))
            crowd.meet()
            return provider.get(name, force_fetch=True)

        assert crowd.serve(handle) == [str(number) for number in range(8)]

    def test_dynamodb(self) -> None:
        client = _table("parameters")
        client.put_item(
            TableName="parameters", Item={"id": {"S": "a"}, "value": {"M": {"of": {"L": []}}}}
        )
        client.close()
        provider = parameters.DynamoDBProvider("parameters")
        calls = Calls(provider.table.meta.client)
        crowd = ThreadCrowd(COUNT)

        def handle(number: int) -> Any:
            crowd.meet()
            found: Any = provider.get("a")
            found["of"].append(number)
            crowd.meet()
            return found["of"]

        assert crowd.serve(handle) == [[number] for number in range(COUNT)]
        assert calls.counts == {"GetItem": 1}
        provider.table.meta.client.close()


class TestCircuitBreaker:
    def test_one_call_tries_again(self) -> None:
        pytest.importorskip("aws_lambda_powertools.utilities.circuit_breaker")
        from aws_lambda_powertools.utilities.circuit_breaker import (
            CircuitBreakerConfig,
            CircuitBreakerOpenError,
            circuit_breaker,
        )
        from aws_lambda_powertools.utilities.circuit_breaker.persistence import (
            CircuitBreakerDynamoDBPersistence,
        )

        client = _table("circuits")
        store = CircuitBreakerDynamoDBPersistence("circuits", boto3_client=client)
        config = CircuitBreakerConfig(
            failure_threshold=COUNT, recovery_timeout=30, success_threshold=1
        )
        crowd = TaskCrowd(COUNT)
        outcome: Callable[[], Any] = _down

        @circuit_breaker("service", persistence_store=store, config=config)
        async def function() -> Any:
            await crowd.meet()
            return outcome()

        async def handle(number: int) -> Any:
            try:
                return await function()
            except OSError:
                return "down"
            except CircuitBreakerOpenError:
                await crowd.meet()
                return "open"

        assert crowd.serve(handle) == ["down"] * COUNT
        record = client.get_item(TableName="circuits", Key={"id": {"S": "service"}})["Item"]
        assert record["state"]["S"] == "OPEN"

        client.update_item(
            TableName="circuits",
            Key={"id": {"S": "service"}},
            UpdateExpression="SET opened_at = :long_ago",
            ExpressionAttributeValues={":long_ago": {"N": "1"}},
        )
        store._cache.clear()
        outcome, crowd = _up, TaskCrowd(COUNT)
        answers = crowd.serve(handle)
        assert sorted(answers) == ["open"] * (COUNT - 1) + ["up"]
        record = client.get_item(TableName="circuits", Key={"id": {"S": "service"}})["Item"]
        assert record["state"]["S"] == "CLOSED"
        client.close()


def _down() -> Any:
    raise OSError


def _up() -> Any:
    return "up"
