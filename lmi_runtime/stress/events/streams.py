"""Streams: Kinesis, DynamoDB, Kafka."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Literal

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from lmi_runtime.stress.events.parts import (
    ACCOUNT,
    BODIES,
    DOCUMENTS,
    NAMES,
    REGION,
    SLUGS,
    TEXTS,
    Batch,
    Given,
    as_base64,
    batches,
    epoch_ms,
    epoch_s,
    hex_id,
    strategy,
)

__all__ = ["attribute_value", "dynamodb", "kafka", "kinesis"]

Draw = Callable[[SearchStrategy[Any]], Any]
Change = Literal["INSERT", "MODIFY", "REMOVE"]
_CHANGES: SearchStrategy[Change] = st.sampled_from(["INSERT", "MODIFY", "REMOVE"])
_HEADERS = st.dictionaries(NAMES, TEXTS, max_size=1)
_ITEM_KEYS: SearchStrategy[dict[str, Any]] = SLUGS.map(lambda slug: {"id": f"id{slug}"})
_PARTITION_KEYS = SLUGS.map("key{}".format)
_RECORD_KEYS = st.none() | TEXTS


def kinesis(
    *,
    data: Given[Any] = BODIES,
    partition_key: Given[str] = _PARTITION_KEYS,
    batch: Batch = (1, 3),
    stream: str = "stream",
) -> SearchStrategy[dict[str, Any]]:
    """
    Draw events of a Kinesis stream.

    Args:
        data: Bytes or text, anything else as JSON; the event has it in base64.
        partition_key: What decides on the shard.
        batch: How many records an event has, or from how many to how many.
        stream: Name of the stream.
    """
    payloads, keys = strategy(data), strategy(partition_key)

    def record(draw: Draw, number: int) -> dict[str, Any]:
        sequence = str(49_590_338_271_490_256_608_559_692_538_361_571_095 * 10**17 + number)
        return {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": draw(keys),
                "sequenceNumber": sequence,
                "data": as_base64(draw(payloads)),
                "approximateArrivalTimestamp": float(epoch_s(number)),
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"shardId-000000000000:{sequence}",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": f"arn:aws:iam::{ACCOUNT}:role/lambda-role",
            "awsRegion": REGION,
            "eventSourceARN": f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{stream}",
        }

    return batches(record, batch).map(lambda records: {"Records": records})


def attribute_value(value: Any) -> dict[str, Any]:
    """
    A JSON value in the typed form that DynamoDB uses: ``1`` is ``{"N": "1"}``.

    Raises:
        TypeError: The value is none that JSON has.
    """
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": value}
        case int() | float():
            return {"N": format(Decimal(repr(value)).normalize(), "f")}
        case list():
            return {"L": [attribute_value(item) for item in value]}
        case dict():
            return {"M": _image(value)}
        case _:
            raise TypeError(f"DynamoDB items are made of JSON values, not {type(value).__name__}")


def _image(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: attribute_value(value) for name, value in item.items()}


def dynamodb(
    *,
    keys: Given[dict[str, Any]] = _ITEM_KEYS,
    item: Given[dict[str, Any]] = DOCUMENTS,
    change: Given[Change] = _CHANGES,
    batch: Batch = (1, 3),
    table: str = "table",
) -> SearchStrategy[dict[str, Any]]:
    """
    Draw events of a DynamoDB stream that shows both the new and the old item.

    Args:
        keys: The key attributes, in plain Python values.
        item: The attributes besides, in plain Python values; drawn once for the new and once
            for the old item.
        change: ``INSERT``, ``MODIFY`` or ``REMOVE``.
        batch: How many records an event has, or from how many to how many.
        table: Name of the table.
    """
    key_sets, items, changes = strategy(keys), strategy(item), strategy(change)

    def record(draw: Draw, number: int) -> dict[str, Any]:
        what, key = draw(changes), draw(key_sets)
        changed: dict[str, Any] = {
            "ApproximateCreationDateTime": epoch_s(number),
            "Keys": _image(key),
            "SequenceNumber": str(10**20 + number),
            "SizeBytes": 26,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
        if what != "REMOVE":
            changed["NewImage"] = _image(draw(items) | key)
        if what != "INSERT":
            changed["OldImage"] = _image(draw(items) | key)
        return {
            "eventID": hex_id(number, 32).lower(),
            "eventName": what,
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": REGION,
            "eventSourceARN": (
                f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}/stream/2026-01-01T00:00:00.000"
            ),
            "dynamodb": changed,
        }

    return batches(record, batch).map(lambda records: {"Records": records})


def kafka(
    *,
    value: Given[Any] = BODIES,
    key: Given[str | None] = _RECORD_KEYS,
    headers: Given[dict[str, str]] = _HEADERS,
    batch: Batch = (1, 3),
    topic: str = "topic",
    self_managed: bool = False,
) -> SearchStrategy[dict[str, Any]]:
    """
    Draw events of a Kafka topic.

    Args:
        value: Bytes or text, anything else as JSON; the event has it in base64.
        key: Key of the record or None; the event has it in base64.
        headers: Headers of the record; the event has their bytes as numbers.
        batch: How many records an event has, or from how many to how many.
        topic: Name of the topic.
        self_managed: A cluster of the user's own instead of Amazon MSK.
    """
    values, keys, header_sets = strategy(value), strategy(key), strategy(headers)

    def record(draw: Draw, number: int) -> dict[str, Any]:
        drawn_key = draw(keys)
        return {
            "topic": topic,
            "partition": 0,
            "offset": number,
            "timestamp": epoch_ms(number),
            "timestampType": "CREATE_TIME",
            **({} if drawn_key is None else {"key": as_base64(drawn_key)}),
            "value": as_base64(draw(values)),
            "headers": [{k: list(v.encode())} for k, v in draw(header_sets).items()],
        }

    def event(records: list[dict[str, Any]]) -> dict[str, Any]:
        source = {"eventSource": "SelfManagedKafka"}
        if not self_managed:
            arn = f"arn:aws:kafka:{REGION}:{ACCOUNT}:cluster/cluster/{'0' * 8}"
            source = {"eventSource": "aws:kafka", "eventSourceArn": arn}
        return {
            **source,
            "bootstrapServers": "b-1.kafka.example.com:9092,b-2.kafka.example.com:9092",
            "records": {f"{topic}-0": records},
        }

    return batches(record, batch).map(event)
