"""Messages and notices: SQS, SNS, EventBridge, S3."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote_plus

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from lmi_runtime.stress.events.parts import (
    ACCOUNT,
    BODIES,
    DOCUMENTS,
    NAMES,
    NUMBERS,
    REGION,
    SLUGS,
    TEXTS,
    Batch,
    Given,
    as_text,
    batches,
    epoch_ms,
    epoch_s,
    hex_id,
    iso_time,
    strategy,
    uuid_of,
)

__all__ = ["eventbridge", "s3", "sns", "sqs"]

Draw = Callable[[SearchStrategy[Any]], Any]
# SQS and SNS take no empty attribute.
_ATTRIBUTES = st.dictionaries(NAMES, TEXTS.filter(bool), max_size=1)
_SUBJECTS = st.none() | TEXTS
_KEYS = SLUGS.map("object{}".format)
_CHANGES = st.sampled_from(["ObjectCreated:Put", "ObjectRemoved:Delete"])
_SIZES = st.integers(0, 5 * 2**30)


def _records(record: Callable[[Draw, int], Any], size: Batch) -> SearchStrategy[dict[str, Any]]:
    return batches(record, size).map(lambda records: {"Records": records})


def sqs(
    *,
    body: Given[Any] = BODIES,
    attributes: Given[dict[str, str]] = _ATTRIBUTES,
    batch: Batch = (1, 3),
    queue: str = "queue",
    fifo: bool = False,
) -> SearchStrategy[dict[str, Any]]:
    """
    Draw events of an SQS queue.

    Args:
        body: Text is sent as it is, anything else as JSON.
        attributes: Message attributes, all of type String.
        batch: How many messages an event has, or from how many to how many.
        queue: Name of the queue, without ``.fifo``.
        fifo: Whether messages have a group, a sequence number and a deduplication id.
    """
    bodies, attribute_sets = strategy(body), strategy(attributes)
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}{'.fifo' if fifo else ''}"

    def record(draw: Draw, number: int) -> dict[str, Any]:
        text = as_text(draw(bodies))
        order = {
            "MessageDeduplicationId": hex_id(number, 16),
            "MessageGroupId": "group-1",
            "SequenceNumber": str(10**19 + number),
        }
        return {
            "messageId": uuid_of(number),
            "receiptHandle": f"receipt-{number}",
            "body": text,
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": str(epoch_ms(number)),
                "SenderId": "AIDAEXAMPLE",
                "ApproximateFirstReceiveTimestamp": str(epoch_ms(number)),
                **(order if fifo else {}),
            },
            "messageAttributes": {
                name: {
                    "stringValue": value,
                    "stringListValues": [],
                    "binaryListValues": [],
                    "dataType": "String",
                }
                for name, value in draw(attribute_sets).items()
            },
            "md5OfBody": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
            "eventSource": "aws:sqs",
            "eventSourceARN": arn,
            "awsRegion": REGION,
        }

    return _records(record, batch)


def sns(
    *,
    message: Given[Any] = BODIES,
    subject: Given[str | None] = _SUBJECTS,
    attributes: Given[dict[str, str]] = _ATTRIBUTES,
    topic: str = "topic",
) -> SearchStrategy[dict[str, Any]]:
    """
    Draw events of an SNS topic: always one record, as the service sends them.

    Args:
        message: Text is sent as it is, anything else as JSON.
        subject: The subject, or None for none.
        attributes: Message attributes, all of type String.
        topic: Name of the topic.
    """
    messages, subjects, attribute_sets = strategy(message), strategy(subject), strategy(attributes)
    arn = f"arn:aws:sns:{REGION}:{ACCOUNT}:{topic}"
    site = f"https://sns.{REGION}.amazonaws.com"

    def record(draw: Draw, number: int) -> dict[str, Any]:
        return {
            "EventSource": "aws:sns",
            "EventVersion": "1.0",
            "EventSubscriptionArn": f"{arn}:{uuid_of(0)}",
            "Sns": {
                "Type": "Notification",
                "MessageId": uuid_of(number),
                "TopicArn": arn,
                "Subject": draw(subjects),
                "Message": as_text(draw(messages)),
                "Timestamp": iso_time(number),
                "SignatureVersion": "1",
                "Signature": "RVhBTVBMRQ==",
                "SigningCertUrl": f"{site}/SimpleNotificationService-0.pem",
                "UnsubscribeUrl": f"{site}/?Action=Unsubscribe&SubscriptionArn={arn}",
                "MessageAttributes": {
                    name: {"Type": "String", "Value": value}
                    for name, value in draw(attribute_sets).items()
                },
            },
        }

    return _records(record, 1)


def eventbridge(
    *,
    detail: Given[dict[str, Any]] = DOCUMENTS,
    detail_type: Given[str] = "Example",
    source: Given[str] = "com.example",
    resources: Given[Sequence[str]] = (),
) -> SearchStrategy[dict[str, Any]]:
    """
    Draw events of an EventBridge bus.

    Args:
        detail: The event itself.
        detail_type: What kind of event it is.
        source: Who sent it.
        resources: ARNs of what it concerns.
    """

    def event(
        number: int, detail: Mapping[str, Any], kind: str, source: str, arns: Sequence[str]
    ) -> dict[str, Any]:
        return {
            "version": "0",
            "id": uuid_of(number),
            "detail-type": kind,
            "source": source,
            "account": ACCOUNT,
            "time": iso_time(number),
            "region": REGION,
            "resources": list(arns),
            "detail": detail,
        }

    return st.builds(
        event,
        NUMBERS.map(next),
        strategy(detail),
        strategy(detail_type),
        strategy(source),
        strategy(resources),
    )


def s3(
    *,
    key: Given[str] = _KEYS,
    bucket: Given[str] = "bucket",
    event_name: Given[str] = _CHANGES,
    size_bytes: Given[int] = _SIZES,
    batch: Batch = 1,
) -> SearchStrategy[dict[str, Any]]:
    """
    Draw event notifications of an S3 bucket.

    Args:
        key: Key of the object; the event has it percent-encoded, as the service does.
        bucket: Name of the bucket.
        event_name: Such as ``ObjectCreated:Put``.
        size_bytes: Size of the object; removed ones have none.
        batch: How many records an event has, or from how many to how many.
    """
    keys, buckets = strategy(key), strategy(bucket)
    names, sizes = strategy(event_name), strategy(size_bytes)

    def record(draw: Draw, number: int) -> dict[str, Any]:
        # All are drawn for all, or Hypothesis would take removals for the simpler events.
        what, where, how_big = draw(names), draw(buckets), draw(sizes)
        entry: dict[str, Any] = {
            "key": quote_plus(draw(keys), safe="/"),
            "sequencer": hex_id(number, 18),
        }
        if not what.startswith(("ObjectRemoved", "LifecycleExpiration")):
            entry |= {"size": how_big, "eTag": f"{number:032x}"}
        return {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": REGION,
            "eventTime": iso_time(number),
            "eventName": what,
            "userIdentity": {"principalId": "AWS:AIDAEXAMPLE"},
            "requestParameters": {"sourceIPAddress": "192.0.2.1"},
            "responseElements": {
                "x-amz-request-id": hex_id(number, 16),
                "x-amz-id-2": f"EXAMPLE{epoch_s(number)}",
            },
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "notify",
                "bucket": {
                    "name": where,
                    "ownerIdentity": {"principalId": "EXAMPLE"},
                    "arn": f"arn:aws:s3:::{where}",
                },
                "object": entry,
            },
        }

    return _records(record, batch)
