"""Events are what AWS sends: valid by powertools, JSON, and with ids of their own."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import pytest
from aws_lambda_powertools.utilities import data_classes
from aws_lambda_powertools.utilities.parser import models
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from lmi_runtime.stress import events
from lmi_runtime.stress.events import SOURCES, mark
from lmi_runtime.stress.oracles.canary import tokens_for

MODELS: dict[str, type[BaseModel]] = {
    "apigw-v1": models.APIGatewayProxyEventModel,
    "apigw-v2": models.APIGatewayProxyEventV2Model,
    "alb": models.AlbModel,
    "function-url": models.LambdaFunctionUrlModel,
    "sqs": models.SqsModel,
    "sns": models.SnsModel,
    "s3": models.S3Model,
    "eventbridge": models.EventBridgeModel,
    "kinesis": models.KinesisDataStreamModel,
    "dynamodb": models.DynamoDBStreamModel,
    "kafka": models.KafkaMskEventModel,
}
few = settings(max_examples=settings().max_examples // 5)  # of each source
every_source = pytest.mark.parametrize("name", SOURCES)
quick = settings(database=None, max_examples=2_000, suppress_health_check=list(HealthCheck))


def validate(name: str, event: dict[str, Any]) -> BaseModel:
    # Some of the models change what they are given.
    return MODELS[name].model_validate(copy.deepcopy(event))


def simplest(strategy: st.SearchStrategy[Any]) -> Any:
    """What Hypothesis tries first and what it shrinks towards."""
    return find(strategy, lambda _: True, settings=settings(quick, phases=[Phase.generate]))


def ids_in(event: dict[str, Any]) -> Iterator[str]:
    """All that identifies an event or a record in it."""
    for record in event.get("Records", [event]):
        context, sns = record.get("requestContext", {}), record.get("Sns", {})
        yield from filter(
            None,
            [
                record.get("messageId"),
                record.get("id"),
                record.get("eventID"),
                context.get("requestId"),
                sns.get("MessageId"),
                record.get("responseElements", {}).get("x-amz-request-id"),
                record.get("s3", {}).get("object", {}).get("sequencer"),
            ],
        )
    for records in event.get("records", {}).values():
        yield from (f"{r['topic']}-{r['partition']}-{r['offset']}" for r in records)


def test_every_source_has_a_model() -> None:
    assert list(SOURCES) == list(MODELS)


@every_source
@few
@given(data=st.data())
def test_events_are_valid_and_survive_json(name: str, data: st.DataObject) -> None:
    event = data.draw(SOURCES[name]())

    assert json.loads(json.dumps(event)) == event
    validate(name, event)


@every_source
@few
@given(data=st.data(), level=st.sampled_from([0, 1, 2]), invocation=st.integers(1, 9))
def test_marked_events_are_valid_too(
    name: str, data: st.DataObject, level: int, invocation: int
) -> None:
    event = data.draw(SOURCES[name]())
    before = copy.deepcopy(event)

    marked = mark(event, tokens_for(invocation), level=level)

    assert event == before
    assert json.loads(json.dumps(marked)) == marked
    validate(name, marked)


@every_source
@few
@given(data=st.data())
def test_no_two_events_or_records_of_a_test_case_share_an_id(
    name: str, data: st.DataObject
) -> None:
    drawn = data.draw(st.lists(SOURCES[name](), min_size=2, max_size=4))
    ids = [one for event in drawn for one in ids_in(event)]
    marked = [one for event in drawn for one in ids_in(mark(event, tokens_for(1)))]

    # A load balancer gives its requests no id but the trace.
    assert ids or name == "alb"
    assert len(set(ids)) == len(ids)
    assert len(set(marked)) == len(ids)


@given(event=events.kafka(self_managed=True))
def test_a_kafka_cluster_of_ones_own(event: dict[str, Any]) -> None:
    models.KafkaSelfManagedEventModel.model_validate(event)


@given(event=events.sqs(fifo=True, body={"sku": 1}, batch=2))
def test_fifo_queues_say_in_which_order(event: dict[str, Any]) -> None:
    parsed = models.SqsModel.model_validate(event)

    first, second = (record.attributes.SequenceNumber or "" for record in parsed.Records)
    assert first < second
    assert all(record["body"] == '{"sku": 1}' for record in event["Records"])


@pytest.mark.parametrize("make", [events.apigw_v1, events.apigw_v2])
def test_the_simplest_request_is_a_bare_get(make: Any) -> None:
    event = simplest(make())

    assert event.get("httpMethod", event.get("routeKey", ""))[:3] == "GET"
    assert event.get("path", event.get("rawPath")) == "/"
    assert not event.get("body")
    assert not event.get("queryStringParameters")
    assert {name.lower() for name in event["headers"]} == {"host", "user-agent"}


@pytest.mark.parametrize(("name", "field"), [("sqs", "body"), ("kinesis", "kinesis")])
def test_the_simplest_batch_is_one_empty_record(name: str, field: str) -> None:
    (record,) = simplest(SOURCES[name]())["Records"]

    payload = record[field]
    assert (payload if isinstance(payload, str) else payload["data"]) == ""


def test_the_simplest_of_the_rest() -> None:
    assert simplest(events.eventbridge())["detail"] == {}
    assert simplest(events.s3())["Records"][0]["eventName"] == "ObjectCreated:Put"
    assert simplest(events.s3())["Records"][0]["s3"]["object"]["size"] == 0
    assert simplest(events.sns())["Records"][0]["Sns"]["Message"] == ""
    assert simplest(events.dynamodb())["Records"][0]["eventName"] == "INSERT"
    ((record,),) = simplest(events.kafka())["records"].values()
    assert (record["value"], record["headers"]) == ("", [])


def test_a_failure_shrinks_to_the_one_thing_it_needs() -> None:
    """Ids are no choices of Hypothesis, so they do not get in the way."""
    event = find(
        events.sqs(), lambda e: any(r["messageAttributes"] for r in e["Records"]), settings=quick
    )  # fmt: skip

    (record,) = event["Records"]
    assert [a["stringValue"] for a in record["messageAttributes"].values()] == ["0"]
    assert record["body"] == ""
    assert record["messageId"].startswith("00000000-0000-4000-8000-")


@given(
    event=events.apigw_v1(
        method="post",
        path="/users/{id}/files/{proxy+}",
        body={"n": 1},
        query={"q": "a b"},
        claims={"sub": "me"},
    )
)
def test_what_was_asked_for_is_in_a_rest_request(event: dict[str, Any]) -> None:
    request = data_classes.APIGatewayProxyEvent(event)

    assert (request.http_method, request.json_body) == ("POST", {"n": 1})
    assert request.resource == "/users/{id}/files/{proxy+}"
    user, proxy = request.path_parameters["id"], request.path_parameters["proxy"]
    assert request.path == f"/users/{user}/files/{proxy}"
    assert request.query_string_parameters == {"q": "a b"}
    assert (request.request_context.authorizer.claims or {})["sub"] == "me"


@given(
    event=events.apigw_v2(
        method="PUT", path="/users/{id}", body=b"\xff\x00", stage="dev", claims={"sub": "me"}
    )
)
def test_what_was_asked_for_is_in_an_http_request(event: dict[str, Any]) -> None:
    request = data_classes.APIGatewayProxyEventV2(event)

    assert event["routeKey"] == "PUT /users/{id}"
    assert request.raw_path == f"/dev/users/{event['pathParameters']['id']}"
    assert request.path == f"/users/{event['pathParameters']['id']}"
    assert (event["isBase64Encoded"], event["body"]) == (True, "/wA=")
    assert (request.request_context.authorizer.jwt_claim or {})["sub"] == "me"
    parameters = event.get("queryStringParameters", {})
    assert dict(parse_qsl(event["rawQueryString"], keep_blank_values=True)) == parameters


@given(event=events.dynamodb(keys={"id": "a"}, item={"n": 1.5, "deep": {"l": [None, True, "s"]}}))
def test_items_have_the_types_of_dynamodb(event: dict[str, Any]) -> None:
    for record in data_classes.DynamoDBStreamEvent(event).records:
        change = record.dynamodb
        assert change is not None
        item = change.new_image or change.old_image
        assert {k: v if k != "n" else float(v) for k, v in item.items()} == {
            "id": "a",
            "n": 1.5,
            "deep": {"l": [None, True, "s"]},
        }


@given(event=events.s3(key="a folder/ü.txt"))
def test_object_keys_are_encoded_as_the_service_does(event: dict[str, Any]) -> None:
    assert event["Records"][0]["s3"]["object"]["key"] == "a+folder/%C3%BC.txt"
    assert data_classes.S3Event(event).object_key == "a folder/ü.txt"


@pytest.mark.parametrize("batch", [0, (2, 1), (0, 3), -1])
def test_a_batch_has_a_record(batch: Any) -> None:
    with pytest.raises(ValueError, match="from 1 record up"):
        events.sqs(batch=batch)


@given(st.data())
def test_changing_an_event_changes_no_other(data: st.DataObject) -> None:
    strategy = events.eventbridge(detail={"items": []})
    data.draw(strategy)["detail"]["items"].append(1)

    assert data.draw(strategy)["detail"] == {"items": []}


@every_source
def test_drawing_is_fast(name: str) -> None:
    """At most 2 ms an event; ten times that here, for machines with other things to do."""
    spent: list[float] = []
    strategy = SOURCES[name]()

    @settings(quick, max_examples=20, phases=[Phase.generate], derandomize=True)
    @given(st.data())
    def draw(data: st.DataObject) -> None:
        start = time.process_time()
        data.draw(strategy)
        spent.append(time.process_time() - start)

    draw()
    assert sorted(spent)[len(spent) // 2] < 0.02
