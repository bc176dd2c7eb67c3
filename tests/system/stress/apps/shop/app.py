"""Answers what an item costs; everything that is shared is shared well."""

from __future__ import annotations

import functools
import json
import os
import random
import tempfile
import threading
from decimal import Decimal
from typing import Any

import inventory
from aws_lambda_powertools import Logger

from lmi_runtime import current

logger = Logger(service="shop", level="INFO")
table = inventory.client(os.environ.get("TABLE_NAME", "prices"))

CONFIG = {"currency": "EUR", "discount": Decimal("0.9")}
CACHE: dict[tuple[str, str], dict[str, Any]] = {}
CACHE_LOCK = threading.Lock()
COUNTS = {"requests": 0}
COUNTS_LOCK = threading.Lock()
REPORTS: dict[str, list[str]] = {}


@functools.lru_cache(maxsize=64)
def label(sku: str) -> str:
    return sku.title()


def count() -> None:
    with COUNTS_LOCK:
        COUNTS["requests"] += 1


def item_for(tenant: str, sku: str) -> dict[str, Any]:
    key = (tenant, sku)
    with CACHE_LOCK:
        if key not in CACHE:
            CACHE[key] = {**table.get_item(Key={"sku": sku})["Item"], "for": tenant}
        return dict(CACHE[key])


def receipt(text: str) -> int:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(text)
        file.flush()
        return os.path.getsize(file.name)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    sku = event["pathParameters"]["sku"]
    user = event["requestContext"]["authorizer"]["claims"]["name"]
    logger.info("priced", extra={"sku": sku, "request": context.aws_request_id})
    count()
    item = item_for(context.tenant_id, sku)
    price = CONFIG["discount"] * item["price"]
    lottery = random.Random(sku).random()
    print(json.dumps({"_aws": {"Timestamp": 0}, "sku": sku, "requestId": current().request_id}))
    body = {"label": label(sku), "price": str(price), "for": item["for"], "user": user}
    size = receipt(json.dumps(body))
    return {"statusCode": 200, "body": json.dumps({**body, "lucky": lottery, "size": size})}
