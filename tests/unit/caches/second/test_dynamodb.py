"""What is asked of DynamoDB."""

from __future__ import annotations

from typing import Any

import pytest

from lmi_runtime.caches.second import DynamoDBLevel, TooLarge


class Conditional(Exception):
    """As botocore makes it."""


class Client:
    """A client that remembers what it was asked, and has one item."""

    class exceptions:
        ConditionalCheckFailedException = Conditional

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.item: dict[str, Any] | None = None
        self.error: Exception | None = None

    def get_item(self, **call: Any) -> dict[str, Any]:
        self.calls.append(call)
        return {} if self.item is None else {"Item": self.item}

    def put_item(self, **call: Any) -> None:
        self.calls.append(call)
        if self.error is not None:
            raise self.error
        self.item = call["Item"]


def level(client: Client, **options: Any) -> DynamoDBLevel:
    return DynamoDBLevel(client, "table", now=lambda: 1000.2, **options)


@pytest.mark.parametrize("consistent", [True, False])
def test_reads_are_as_consistent_as_asked(consistent: bool) -> None:
    client = Client()

    level(client, consistent_read=consistent).get("k")

    assert client.calls[0]["ConsistentRead"] is consistent


def test_names_of_attributes_can_be_chosen() -> None:
    client = Client()

    level(client, key_attribute="id", value_attribute="v", ttl_attribute="t", prefix="").set(
        "k", b"x", 1.5
    )

    assert client.item == {"id": {"S": "k"}, "v": {"B": b"x"}, "t": {"N": "1002"}}


def test_what_dynamodb_has_not_removed_yet_is_not_there() -> None:
    client = Client()
    client.item = {"value": {"B": b"x"}, "expires": {"N": "1000"}}
    assert level(client).get("k") is None

    client.item["expires"] = {"N": "1001"}
    assert level(client).get("k") == b"x"


def test_only_what_is_too_large_is_refused() -> None:
    client = Client()

    level(client).set("k", bytes(400 * 1024 - 100), None)
    assert client.item is not None
    with pytest.raises(TooLarge):
        level(client).set("k", bytes(400 * 1024 - 10), None)
    assert len(client.calls) == 1


def test_a_late_writer_loses_if_asked() -> None:
    client = Client()
    newer = level(client, only_newer=True)

    newer.set("k", b"x", None)
    assert client.item is not None
    assert client.item["written"] == {"N": "1000200"}
    client.error = Conditional()
    newer.set("k", b"y", None)

    assert client.item["value"] == {"B": b"x"}


def test_other_errors_are_raised() -> None:
    client = Client()
    client.error = OSError("down")

    with pytest.raises(OSError, match="down"):
        level(client, only_newer=True).set("k", b"x", None)
