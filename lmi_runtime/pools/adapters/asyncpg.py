"""
Connections of asyncpg.

    pool = Pool(connector("postgresql://127.0.0.1/app", command_timeout=5), max_size=4)
"""

from __future__ import annotations

from functools import partial
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from lmi_runtime.pools.adapters.sockets import let_go_of_socket
from lmi_runtime.pools.model import Connector

__all__ = ["abandon", "connector"]

_CONNECT_TIMEOUT_S = 10.0


def connector(dsn: str | None = None, **options: Any) -> Connector[Any]:
    """
    Connections for tasks of asyncio and uvloop.

    Args:
        dsn: As `asyncpg.connect` takes it.
        options: All else that `asyncpg.connect` takes. Its ``timeout``, for connecting, is 10
            seconds by default.

    A connection that comes back is reset as asyncpg's own pool does it: its transaction is rolled
    back, and cursors, listeners, settings and advisory locks are gone.

    Thread safety: the connector may serve any number of pools.
    """
    return Connector(
        open=partial(asyncpg.connect, dsn, **{"timeout": _CONNECT_TIMEOUT_S, **options}),
        close=_close,
        check=_check,
        reset=_reset,
        usable=_usable,
        abandon=abandon,
        name="asyncpg",
        asynchronous=True,
    )


def _usable(connection: Any) -> bool:
    return not connection.is_closed()


async def _check(connection: Any) -> None:
    await connection.execute("SELECT 1")


async def _reset(connection: Any) -> None:
    # Without a limit of its own: the pool has one. A query that was cancelled is waited for.
    await connection.reset()


async def _close(connection: Any) -> None:
    # Cancelled when the pool's time for it is up; then asyncpg closes the socket at once.
    await connection.close()


def abandon(connection: Any) -> None:
    """Let go of a connection without a goodbye: it is the parent's, or its loop is closed."""
    # `terminate` would take the socket out of the event loop, and a child shares what its
    # parent's loop waits on. asyncpg has no name for the socket that is public.
    transport = connection._transport
    if transport is not None and (socket := transport.get_extra_info("socket")) is not None:
        let_go_of_socket(socket.fileno())
