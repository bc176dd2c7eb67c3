"""A shop: connections that are lent, and prices that are looked up once for all."""

import sqlite3
from collections.abc import Iterator
from typing import Any

from lmi_runtime import Pool, cached, resource
from lmi_runtime import handler as lmi_handler


@resource
def database() -> Iterator[str]:
    """Made once in each worker, when first needed; gone before the worker stops."""
    uri = "file:shop?mode=memory&cache=shared"
    shop = sqlite3.connect(uri, uri=True, check_same_thread=False)
    shop.executescript(
        "CREATE TABLE goods (sku TEXT PRIMARY KEY, cents INTEGER, left INTEGER);"
        "INSERT INTO goods VALUES ('tea', 450, 12), ('mug', 900, 0);"
    )
    yield uri
    shop.close()


def connect() -> sqlite3.Connection:
    # Opened in a thread of the pool, used in others, in one at a time.
    return sqlite3.connect(database(), uri=True, check_same_thread=False)


pool = Pool(connect, close=sqlite3.Connection.close, max_size=4)


@cached(ttl_s=30, stale_s=300)
def price_of(sku: str) -> int:
    """Asked of the database once in 30 s, however many requests want to know."""
    with pool.lease() as shop:
        (cents,) = shop.execute("SELECT cents FROM goods WHERE sku = ?", (sku,)).fetchone()
    return int(cents)


@lmi_handler(concurrency="threads")
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    sku = event.get("sku", "tea")
    with pool.lease() as shop:
        (left,) = shop.execute("SELECT left FROM goods WHERE sku = ?", (sku,)).fetchone()
    return {"cents": price_of(sku), "in_stock": left > 0}
