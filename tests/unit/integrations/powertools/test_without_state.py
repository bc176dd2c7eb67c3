"""Utilities that keep nothing of a request anywhere, and so need no change."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

pytest.importorskip("aws_lambda_powertools")
pytest.importorskip("jsonpath_ng")

from aws_lambda_powertools.utilities.data_masking import DataMasking
from aws_lambda_powertools.utilities.kafka import kafka_consumer
from aws_lambda_powertools.utilities.kafka.schema_config import SchemaConfig

from lmi_runtime.integrations import make_safe
from tests.support.crowd import COUNT, LambdaContext, TaskCrowd, ThreadCrowd


@pytest.fixture(autouse=True, scope="module")
def _safe() -> None:
    make_safe()


class TestDataMasking:
    def test_threads(self) -> None:
        crowd, masking = ThreadCrowd(), DataMasking()

        def handle(number: int) -> Any:
            crowd.meet()
            data = {f"field_{each}": f"secret of {number}" for each in range(3)}
            return masking.erase(data, fields=[f"field_{number % 3}"])

        for number, erased in enumerate(crowd.serve(handle)):
            for each in range(3):
                shown = "*****" if each == number % 3 else f"secret of {number}"
                assert erased[f"field_{each}"] == shown

    def test_tasks(self) -> None:
        crowd, masking = TaskCrowd(), DataMasking()

        async def handle(number: int) -> Any:
            await crowd.meet()
            return masking.erase({"a": number, "b": number}, fields=["a"])

        assert crowd.serve(handle) == [{"a": "*****", "b": number} for number in range(COUNT)]


def _event(number: int) -> dict[str, Any]:
    value = base64.b64encode(json.dumps({"of": number}).encode()).decode()
    record = {"topic": "t", "partition": 0, "offset": number, "value": value, "headers": []}
    return {"eventSource": "aws:kafka", "records": {"t-0": [record]}}


class TestKafka:
    def test_threads(self) -> None:
        crowd = ThreadCrowd()

        @kafka_consumer(schema_config=SchemaConfig(value_schema_type="JSON"))
        def handler(records: Any, context: Any) -> Any:
            crowd.meet()
            return [record.value for record in records.records]

        answers = crowd.serve(lambda number: handler(_event(number), LambdaContext(number)))
        assert answers == [[{"of": number}] for number in range(COUNT)]

    def test_tasks(self) -> None:
        crowd = TaskCrowd()

        @kafka_consumer(schema_config=SchemaConfig(value_schema_type="JSON"))
        async def handler(records: Any, context: Any) -> Any:
            await crowd.meet()
            return [record.value for record in records.records]

        answers = crowd.serve(lambda number: handler(_event(number), LambdaContext(number)))
        assert answers == [[{"of": number}] for number in range(COUNT)]
