"""The servers that handlers of the site ask: real ones on loopback, and how to find them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager

import pytest

from tests.support.http_server import HttpServer
from tests.support.moto_server import moto
from tests.support.otlp_collector import Collector
from tests.support.postgres_server import PostgresServer
from tests.support.redis_server import RedisServer

__all__ = ["SERVERS"]

Environment = Mapping[str, str]


@contextmanager
def _postgresql() -> Iterator[Environment]:
    with PostgresServer() as server:
        yield {
            "DATABASE_URL": server.dsn,
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGUSER": "app",
            "PGDATABASE": "postgres",
        }


@contextmanager
def _valkey() -> Iterator[Environment]:
    with RedisServer() as server:
        yield {"VALKEY_URL": server.url}


@contextmanager
def _http() -> Iterator[Environment]:
    with HttpServer() as server:
        yield {"SERVICE_URL": server.url}


@contextmanager
def _aws() -> Iterator[Environment]:
    with moto() as url:
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_REGION": "eu-central-1",
        }


@contextmanager
def _shop() -> Iterator[Environment]:
    """AWS, with what a shop has set up: tables for powertools, a parameter and a secret."""
    boto3 = pytest.importorskip("boto3")
    with _aws() as variables:
        access = {
            "region_name": variables["AWS_REGION"],
            "endpoint_url": variables["AWS_ENDPOINT_URL"],
            "aws_access_key_id": variables["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": variables["AWS_SECRET_ACCESS_KEY"],
        }
        with closing(boto3.client("dynamodb", **access)) as tables:
            for name, key in (("idempotency", "id"), ("circuits", "id"), ("orders", "id")):
                tables.create_table(
                    TableName=name,
                    KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
                    AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
                    BillingMode="PAY_PER_REQUEST",
                )
        with closing(boto3.client("ssm", **access)) as parameters:
            parameters.put_parameter(Name="/shop/rates", Value='{"EUR": 0.92}', Type="String")
        yield variables


@contextmanager
def _collector() -> Iterator[Environment]:
    with Collector() as collector:
        yield {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url.removesuffix("/v1/traces")}
        assert collector.spans, "no span came in"


SERVERS: Mapping[str, Callable[[], AbstractContextManager[Environment]]] = {
    "postgresql": _postgresql,
    "valkey": _valkey,
    "http": _http,
    "aws": _aws,
    "shop": _shop,
    "collector": _collector,
}
"""By what pages call them; each yields the variables by which a handler finds it."""
