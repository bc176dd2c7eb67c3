"""Marks go where they tell invocations apart, and nowhere that decides what happens."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmi_runtime.stress import events
from lmi_runtime.stress.events import SOURCES, mark
from lmi_runtime.stress.oracles.canary import find_foreign, tokens_for

OURS, OTHERS = tokens_for(2), tokens_for(1)
TOKEN = OURS.text
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def first(strategy: st.SearchStrategy[Any], **_: Any) -> Any:
    """Any event of it will do."""
    from hypothesis import Phase, find

    return find(strategy, lambda _: True, settings=settings(database=None, phases=[Phase.generate]))


@pytest.mark.parametrize("text", ["sku-1", "Ada", "a long text, with commas", "ünïcode", "x" * 999])
def test_free_text_gets_the_token_at_its_end(text: str) -> None:
    assert mark({"thing": text}, OURS) == {"thing": f"{text}-{TOKEN}"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1",
        "-1.5e3",
        "1,000.00",
        "12 kg",
        "NaN",
        "2026-01-01",
        "2026-01-01T10:00:00.000Z",
        "10:30",
        "PT5M",
        "1.2.3",
        "v2.0",
        "true",
        "null",
        "PENDING",
        "ORDER_PLACED",
        "ObjectCreated:Put",
        "arn:aws:sqs:us-east-1:123456789012:queue",
        "https://example.com/a",
        "urn:isbn:1",
        "mailto:a@b.example",
        "/users/1",
        "application/json; charset=utf-8",
        "example.com",
        "192.0.2.1",
        "2001:db8::1",
        "us-east-1",
        "en-GB",
        "EUR",
        "$default",
        "#ff00aa",
        "0123456789abcdef",
        "SGVsbG8sIHdvcmxkIQ==",
        "<a>text</a>",
        "+49 30 123456",
        "...",
    ],
)
def test_what_has_a_form_or_a_meaning_stays(text: str) -> None:
    assert mark({"thing": text}, OURS) == {"thing": text}


@pytest.mark.parametrize(
    "key", ["type", "orderStatus", "event_type", "action", "method", "Currency", "routeKey-path"]
)
def test_values_that_select_stay_whatever_they_say(key: str) -> None:
    assert mark({key: "something"}, OURS) == {key: "something"}


def test_forms_with_room_for_a_token_keep_their_form() -> None:
    order = "6F9619FF-8B86-4D01-B42D-00CF4FC964FF"
    marked = mark({"mail": "ada@example.com", "order": order, "again": order}, OURS)

    assert marked["mail"] == f"ada+{TOKEN}@example.com"
    assert UUID(marked["order"]).version == 4
    assert marked["order"] == marked["again"] != order
    assert marked["order"] != mark({"order": order[:-1] + "0"}, OURS)["order"]


def test_levels_step_down_to_nothing() -> None:
    event = {"sku": "sku-1", "user": "ada", "items": [{"name": "pen"}], "order_id": "o-7"}

    assert mark(event, OURS, level=0) == event
    assert mark(event, OURS, level=1) == {
        "sku": "sku-1",
        "user": f"ada-{TOKEN}",
        "items": [{"name": f"pen-{TOKEN}"}],
        "order_id": "o-7",
    }
    assert mark(event, OURS, level=2)["sku"] == f"sku-1-{TOKEN}"
    assert mark(event, OURS, level=2)["order_id"] == f"o-7-{TOKEN}"


@pytest.mark.parametrize("level", [-1, 3, None])
def test_there_are_three_levels(level: Any) -> None:
    with pytest.raises(ValueError, match="0, 1 and 2"):
        mark({}, OURS, level=level)


def test_a_schema_of_ones_own_limits_the_level() -> None:
    event = {"sku": "a", "user": "ada"}

    def short_sku(value: Any) -> bool:
        return len(value["sku"]) < 5

    assert mark(event, OURS, valid=short_sku) == {"sku": "a", "user": f"ada-{TOKEN}"}
    assert mark(event, OURS, valid=lambda value: value == event) == event


@given(event=events.apigw_v2(method="POST", path="/orders/{id}", body={"sku": "s", "type": "t"},
                             query={"q": "text"}, claims={"sub": "ada", "iss": "https://x.y"},
                             headers={"X-Amzn-Trace-Id": "Root=1-0-0", "X-Who": "me"}))  # fmt: skip
def test_an_http_request(event: dict[str, Any]) -> None:
    marked = mark(event, OURS)

    untouched = ("version", "routeKey", "rawPath", "pathParameters", "isBase64Encoded")
    assert {k: marked[k] for k in untouched} == {k: event[k] for k in untouched}
    assert json.loads(marked["body"]) == {"sku": f"s-{TOKEN}", "type": "t"}
    assert parse_qs(marked["rawQueryString"]) == {"q": [f"text-{TOKEN}"]}
    assert marked["queryStringParameters"] == {"q": f"text-{TOKEN}"}
    assert marked["headers"]["x-amzn-trace-id"] == OURS.trace_id
    assert marked["headers"]["x-who"] == f"me-{TOKEN}"
    assert marked["headers"]["user-agent"] == f"{event['headers']['user-agent']} {TOKEN}"
    assert marked["headers"]["host"] == event["headers"]["host"]
    context, before = marked["requestContext"], event["requestContext"]
    assert context["requestId"].startswith(OURS.request_id[:19])
    claims = {"sub": f"ada-{TOKEN}", "iss": "https://x.y"}
    assert context["authorizer"]["jwt"]["claims"] == claims
    assert context["http"] == before["http"] | {"userAgent": marked["headers"]["user-agent"]}
    same = ("accountId", "apiId", "domainName", "routeKey", "stage", "time", "timeEpoch")
    assert {k: context[k] for k in same} == {k: before[k] for k in same}


@given(event=events.apigw_v1(method="POST", body=b'{"user": "ada"}'))
def test_a_body_in_base64_is_marked_inside(event: dict[str, Any]) -> None:
    marked = mark(event, OURS)

    assert json.loads(base64.b64decode(marked["body"])) == {"user": f"ada-{TOKEN}"}


@pytest.mark.parametrize("data", [b"\xff\xfe\x00binary", b"", b"12", b"<xml/>"])
def test_what_is_binary_stays(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    event = {"httpMethod": "POST", "requestContext": {}, "body": text, "isBase64Encoded": True}

    assert mark(event, OURS) == event


@pytest.mark.parametrize(
    ("body", "marked"),
    [
        ("plain words", f"plain words-{TOKEN}"),
        ("user=ada&n=1&kind=x", f"user=ada-{TOKEN}&n=1&kind=x"),
        ("12", "12"),
        ('"word"', f'"word-{TOKEN}"'),
        ('{"n": 1,"k":[1.10]}', '{"n": 1,"k":[1.10]}'),
        ("<order>x</order>", "<order>x</order>"),
        ("abc==", "abc=="),
        ("{not json", f"{{not json-{TOKEN}"),
    ],
)
def test_bodies_of_all_kinds(body: str, marked: str) -> None:
    event = {"Records": [{"eventSource": "aws:sqs", "body": body, "md5OfBody": "?"}]}

    (record,) = mark(event, OURS)["Records"]
    assert record["body"] == marked
    assert record["md5OfBody"] == hashlib.md5(marked.encode()).hexdigest()


@given(event=events.sqs(body={"a": "text"}, attributes={"who": "ada"}, batch=2))
def test_a_batch_of_messages(event: dict[str, Any]) -> None:
    for before, after in zip(event["Records"], mark(event, OURS)["Records"], strict=True):
        changed = {key for key in before if before[key] != after[key]}
        assert changed == {"messageId", "body", "md5OfBody", "messageAttributes"}
        assert after["messageAttributes"]["who"]["stringValue"] == f"ada-{TOKEN}"
        assert after["messageAttributes"]["who"]["dataType"] == "String"


def test_an_event_in_an_event_is_marked_by_its_own_rules() -> None:
    s3 = first(events.s3(key="in/cat.png"))
    event = first(events.sqs(body=first(events.sns(message=s3)), batch=1))

    envelope = json.loads(mark(event, OURS)["Records"][0]["body"])
    notice = json.loads(envelope["Records"][0]["Sns"]["Message"])
    assert notice["Records"][0]["s3"]["object"]["key"] == f"in/cat-{TOKEN}.png"
    assert notice["Records"][0]["s3"]["bucket"] == s3["Records"][0]["s3"]["bucket"]


@pytest.mark.parametrize(
    ("key", "marked"),
    [("a", f"a-{TOKEN}"), ("x/.env", f"x/.env-{TOKEN}"), ("x/", "x/"), ("t.gz", f"t-{TOKEN}.gz")],
)
def test_object_keys_keep_folder_and_suffix(key: str, marked: str) -> None:
    event = {"Records": [{"eventSource": "aws:s3", "s3": {"object": {"key": key}}}]}

    assert mark(event, OURS)["Records"][0]["s3"]["object"]["key"] == marked
    assert mark(event, OURS, level=1) == event


def test_streams_are_marked_inside() -> None:
    payload = {"user": "ada"}
    kinesis = mark(first(events.kinesis(data=payload, batch=1)), OURS)["Records"][0]["kinesis"]
    ((kafka,),) = mark(
        first(events.kafka(value=payload, key="k", headers={"who": "ada"}, batch=1)), OURS
    )["records"].values()
    item = {"user": "ada", "n": 1, "tags": ["a"], "deep": {"note": "n"}}
    dynamodb = mark(
        first(events.dynamodb(keys={"id": "k"}, item=item, change="MODIFY", batch=1)), OURS
    )["Records"][0]["dynamodb"]

    assert json.loads(base64.b64decode(kinesis["data"])) == {"user": f"ada-{TOKEN}"}
    assert json.loads(base64.b64decode(kafka["value"])) == {"user": f"ada-{TOKEN}"}
    assert base64.b64decode(kafka["key"]).decode() == f"k-{TOKEN}"
    assert kafka["headers"] == [{"who": list(f"ada-{TOKEN}".encode())}]
    assert dynamodb["Keys"] == {"id": {"S": f"k-{TOKEN}"}}
    assert dynamodb["OldImage"] == {
        "id": {"S": f"k-{TOKEN}"},
        "user": {"S": f"ada-{TOKEN}"},
        "n": {"N": "1"},
        "tags": {"L": [{"S": f"a-{TOKEN}"}]},
        "deep": {"M": {"note": {"S": f"n-{TOKEN}"}}},
    }


def test_a_bus_event_is_marked_in_its_detail() -> None:
    event = first(events.eventbridge(detail={"sku": "s"}, detail_type="Placed", source="shop"))
    marked = mark(event, OURS)

    assert {k for k in event if event[k] != marked[k]} == {"id", "detail"}
    assert marked["detail"] == {"sku": f"s-{TOKEN}"}


@given(event=JSON, level=st.sampled_from([0, 1, 2]))
def test_documents_keep_their_shape(event: Any, level: int) -> None:
    """Same keys, same types, same everything that is not text; marking twice adds nothing."""

    def shape(value: Any) -> Any:
        match value:
            case dict():
                return {key: shape(item) for key, item in value.items()}
            case list():
                return [shape(item) for item in value]
            case str():
                return str
            case _:
                return (type(value), value)

    marked = mark(event, OURS, level=level)

    assert shape(marked) == shape(event)
    assert mark(marked, OURS, level=level) == marked


@pytest.mark.parametrize("name", SOURCES)
@settings(max_examples=settings().max_examples // 5)
@given(data=st.data())
def test_an_events_own_tokens_are_seen_by_others_and_not_by_itself(
    name: str, data: st.DataObject
) -> None:
    marked = mark(data.draw(SOURCES[name]()), OURS)
    everyone = {1: OTHERS, 2: OURS}

    assert find_foreign(everyone, 2, marked) == []
    # Even the simplest has something, but a record of a stream with nothing in it.
    if name not in {"kinesis", "kafka", "dynamodb"}:
        assert {leak.owner for leak in find_foreign(everyone, 1, marked)} == {2}


@pytest.mark.parametrize(
    "event",
    [
        {"Records": [None]},
        {"Records": [{"eventSource": "aws:sqs"}, 1]},
        {"Records": [{"eventSource": "aws:s3", "s3": None}]},
        {"Records": [{"eventSource": ["aws:sqs"]}]},
        {"Records": [{"EventSource": "aws:sns", "Sns": "text"}]},
        {"Records": [{"eventSource": "aws:dynamodb", "dynamodb": {"Keys": 1}}]},
        {"eventSource": "aws:kafka", "records": {"a": None, "b": [1], "c": [{"headers": [1]}]}},
        {"eventSource": "aws:kafka", "records": {"a": [{"headers": [{"h": [-1]}]}]}},
        {"eventSource": "aws:kafka", "records": {"a": [{"headers": [{"h": None}]}]}},
        {"rawPath": "/", "requestContext": {"authorizer": {"jwt": 1}, "http": []}, "headers": []},
        {"httpMethod": "GET", "requestContext": {}, "headers": {"User-Agent": [None]}, "body": {}},
        {"detail-type": "x", "detail": None},
    ],
)
def test_events_that_are_not_whole_do_not_stop_it(event: Any) -> None:
    marked = mark(event, OURS)

    assert re.sub(f"-{TOKEN}", "", json.dumps(marked)) == json.dumps(event)
