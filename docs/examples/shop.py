"""A shop: lent connections, a database that is opened once, and prices that are looked up once."""

import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmi_runtime import Pool, cached, resource
from lmi_runtime import handler as lmi_handler


@resource
def database() -> Iterator[str]:
    """Made once in each worker, when first needed; removed before the worker stops."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "shop.db")
        shop = sqlite3.connect(path)
        shop.executescript(
            "CREATE TABLE prices (sku TEXT PRIMARY KEY, cents INTEGER);"
            "INSERT INTO prices VALUES ('tea', 450), ('mug', 900);"
            "CREATE TABLE orders (sku TEXT, cents INTEGER);"
        )
        shop.close()
        yield path


def connect() -> sqlite3.Connection:
    # Opened in a thread of the pool, used in others, in one at a time.
    return sqlite3.connect(database(), check_same_thread=False)


pool = Pool(connect, close=sqlite3.Connection.close, max_size=4)


@cached(ttl_s=30, stale_s=300)
def price_of(sku: str) -> int | None:
    """Asked of the database once in 30 s, however many requests want to know."""
    with pool.lease() as shop:
        row = shop.execute("SELECT cents FROM prices WHERE sku = ?", (sku,)).fetchone()
    return None if row is None else row[0]


@lmi_handler(concurrency="threads")
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    sku = event.get("sku", "tea")
    cents = price_of(sku)
    if cents is None:
        return {"sold": False}
    with pool.lease() as shop, shop:  # sqlite's own `with` commits, or rolls back
        shop.execute("INSERT INTO orders VALUES (?, ?)", (sku, cents))
    return {"sold": True, "cents": cents}
