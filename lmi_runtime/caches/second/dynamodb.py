"""A table of DynamoDB as the second level."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.caches.second.blocking import BlockingLevel
from lmi_runtime.caches.second.level import TooLarge

__all__ = ["DynamoDBLevel"]

_ITEM_BYTES = 400 * 1024
_OTHERS_BYTES = 64
"""What the names of attributes, and numbers, take of an item."""


class DynamoDBLevel(BlockingLevel):
    """
    Values in a table whose partition key is text, and that has no sort key.

    Turn on time to live for `ttl_attribute`: DynamoDB removes what expired within days, and what
    it has not removed yet is not returned from here. The client blocks; tasks use it in threads.
    Give it short time-outs and few retries (``Config(connect_timeout=1, read_timeout=1,
    retries={"total_max_attempts": 2})``).

    Args:
        client: ``boto3.client("dynamodb")``.
        table: The table's name or ARN.
        key_attribute: Name of the partition key.
        value_attribute: Where the value is kept.
        ttl_attribute: Where the expiry is kept; seconds since the epoch.
        prefix: What all keys begin with.
        consistent_read: Read what was written last, at twice the price.
        only_newer: Never replace a value by one whose writing began earlier. This costs an
            attribute, ``written``, and makes a late writer lose instead of win.
        now: Where it reads the time; seconds since the epoch.

    Thread safety: from any thread and any task, as the client is.
    """

    def __init__(
        self,
        client: Any,
        table: str,
        *,
        key_attribute: str = "pk",
        value_attribute: str = "value",
        ttl_attribute: str = "expires",
        prefix: str = "lmi:",
        consistent_read: bool = False,
        only_newer: bool = False,
        now: Callable[[], float] = _sync.wall_time,
    ) -> None:
        self._client = client
        self._table = table
        self._key = key_attribute
        self._value = value_attribute
        self._ttl = ttl_attribute
        self._prefix = prefix
        self._consistent_read = consistent_read
        self._only_newer = only_newer
        self._now = now

    def get(self, key: str, /) -> bytes | None:
        """What was set for `key`, if it has not expired."""
        answer = self._client.get_item(
            TableName=self._table,
            Key=self._item_key(key),
            ConsistentRead=self._consistent_read,
            ProjectionExpression="#v, #t",
            ExpressionAttributeNames={"#v": self._value, "#t": self._ttl},
        )
        item = answer.get("Item")
        if item is None or self._expired(item):
            return None
        return bytes(item[self._value]["B"])

    def set(self, key: str, value: bytes, ttl_s: float | None, /) -> None:
        """
        Keep `value`.

        Raises:
            TooLarge: An item cannot be larger than 400 KiB, its key and all else included.
        """
        names = (self._prefix, key, self._key, self._value, self._ttl)
        size = len(value) + sum(len(name.encode()) for name in names) + _OTHERS_BYTES
        if size > _ITEM_BYTES:
            raise TooLarge(f"An item of {size} bytes is larger than DynamoDB takes.")
        now_s = self._now()
        item = {**self._item_key(key), self._value: {"B": value}}
        if ttl_s is not None:
            # Whole seconds, and never one too early for who asks for less than one.
            item[self._ttl] = {"N": str(math.ceil(now_s + ttl_s))}
        self._put(item, now_s)

    def delete(self, key: str, /) -> None:
        """Forget `key`."""
        self._client.delete_item(TableName=self._table, Key=self._item_key(key))

    def _put(self, item: dict[str, Any], now_s: float) -> None:
        if not self._only_newer:
            self._client.put_item(TableName=self._table, Item=item)
            return
        written = {"N": str(int(now_s * 1000))}
        try:
            self._client.put_item(
                TableName=self._table,
                Item={**item, "written": written},
                ConditionExpression="attribute_not_exists(#w) OR #w <= :w",
                ExpressionAttributeNames={"#w": "written"},
                ExpressionAttributeValues={":w": written},
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return  # what is there is newer

    def _item_key(self, key: str) -> dict[str, Any]:
        return {self._key: {"S": self._prefix + key}}

    def _expired(self, item: dict[str, Any]) -> bool:
        until = item.get(self._ttl)
        return until is not None and float(until["N"]) <= self._now()
