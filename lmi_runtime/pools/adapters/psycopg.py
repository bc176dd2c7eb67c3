"""
Connections of psycopg 3.

    pool = Pool(connector("dbname=app", autocommit=True), max_size=4)
    pool = Pool(async_connector("dbname=app"), max_size=4)

A lease does not commit: what a block has not committed when it ends is rolled back before the
next borrower gets the connection.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from functools import partial
from typing import Any, TypeVar

import psycopg
from psycopg import pq, waiting
from psycopg.conninfo import conninfo_to_dict

from lmi_runtime import _sync
from lmi_runtime.pools.adapters.sockets import let_go_of_socket
from lmi_runtime.pools.model import Connector

__all__ = ["abandon", "async_connector", "connector"]

_CONNECT_TIMEOUT_S = 10
_CHECK_S = 5.0
_LOOK_AGAIN_S = 0.1
_BETWEEN_EXCHANGES = frozenset(
    (pq.TransactionStatus.IDLE, pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR)
)

_log = logging.getLogger("lmi_runtime.pools")

T = TypeVar("T")
_Waiting = Generator[waiting.Wait, waiting.Ready | int, T]
Anyhow = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]


def connector(conninfo: str = "", **options: Any) -> Connector[psycopg.Connection[Any]]:
    """
    Connections for threads, and for tasks that use them from threads.

    Args:
        conninfo: As `psycopg.connect` takes it.
        options: All else that `psycopg.connect` takes, such as `autocommit` or `row_factory`.
            ``connect_timeout`` is 10 seconds unless it is set here, in `conninfo` or in
            ``PGCONNECT_TIMEOUT``.

    A connection that comes back in a transaction is rolled back; one that is in the middle of an
    exchange is closed. What else a borrower sets, such as the ``search_path``, stays as it is.

    Thread safety: the connector may serve any number of pools.
    """
    told = _Told()
    return Connector(
        open=partial(psycopg.Connection.connect, conninfo, **_in_time(conninfo, options)),
        close=psycopg.Connection.close,
        check=_check,
        reset=partial(_reset, told),
        needs_reset=_in_transaction,
        usable=_usable,
        abandon=abandon,
        name="psycopg",
    )


def async_connector(conninfo: str = "", **options: Any) -> Connector[psycopg.AsyncConnection[Any]]:
    """
    Like `connector`, for tasks of asyncio and uvloop.

    psycopg answers a cancellation by asking the server to cancel, which may take it some seconds
    where the network is gone.
    """
    told = _Told()
    return Connector(
        open=partial(psycopg.AsyncConnection.connect, conninfo, **_in_time(conninfo, options)),
        close=psycopg.AsyncConnection.close,
        check=_check_in_task,
        reset=partial(_reset_in_task, told),
        needs_reset=_in_transaction,
        usable=_usable,
        abandon=abandon,
        name="psycopg",
        asynchronous=True,
    )


def _in_time(conninfo: str, options: dict[str, Any]) -> dict[str, Any]:
    if "PGCONNECT_TIMEOUT" in os.environ or "connect_timeout" in conninfo_to_dict(conninfo):
        return options
    return {"connect_timeout": _CONNECT_TIMEOUT_S, **options}


# ------------------------------------------------------------------------ without I/O


def _usable(connection: Anyhow) -> bool:
    pgconn = connection.pgconn
    return (
        pgconn.status == pq.ConnStatus.OK
        and pgconn.transaction_status in _BETWEEN_EXCHANGES
        and pgconn.pipeline_status == pq.PipelineStatus.OFF
    )


def _in_transaction(connection: Anyhow) -> bool:
    return connection.pgconn.transaction_status != pq.TransactionStatus.IDLE


def abandon(connection: Anyhow) -> None:
    """Let go of a connection without a goodbye: it is the parent's, or its loop is closed."""
    if connection.closed:
        return
    let_go_of_socket(connection.pgconn.socket)
    # Another thread may have been at work on it when the process forked: nothing of libpq's is
    # called, not even to free it. psycopg warns of connections that are dropped while open,
    # unless a pool has them; this is how pools say so.
    connection._pool = None


# -------------------------------------------------------------------------- with I/O


def _check(connection: psycopg.Connection[Any]) -> None:
    pgconn = connection.pgconn
    waiting.wait(_ping(pgconn), pgconn.socket, interval=_LOOK_AGAIN_S)


async def _check_in_task(connection: psycopg.AsyncConnection[Any]) -> None:
    # Not by `connection.wait`, which cannot be cancelled quickly.
    pgconn = connection.pgconn
    await waiting.wait_async(_ping(pgconn), pgconn.socket, interval=_LOOK_AGAIN_S)


def _ping(pgconn: pq.abc.PGconn) -> _Waiting[None]:
    """
    An empty query, and its answer. Unlike `execute`, it begins no transaction.

    Raises:
        psycopg.OperationalError: The connection is dead, or does not answer.
    """
    late_s = _sync.monotonic() + _CHECK_S
    pgconn.send_query(b"")
    while pgconn.flush():
        yield from _readiness(waiting.Wait.RW, late_s)
        pgconn.consume_input()
    while True:
        while not pgconn.is_busy():
            result = pgconn.get_result()
            if result is None:
                return
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise psycopg.OperationalError(result.error_message.decode(errors="replace"))
        yield from _readiness(waiting.Wait.R, late_s)
        pgconn.consume_input()


def _readiness(what: waiting.Wait, late_s: float) -> _Waiting[None]:
    while not (yield what):
        if _sync.monotonic() >= late_s:
            raise psycopg.OperationalError(f"The server did not answer in {_CHECK_S:g} s.")


def _reset(told: _Told, connection: psycopg.Connection[Any]) -> None:
    told.tell(connection)
    connection.rollback()


async def _reset_in_task(told: _Told, connection: psycopg.AsyncConnection[Any]) -> None:
    told.tell(connection)
    # The pool's limit cancels this, again and again: psycopg then closes the connection, instead
    # of waiting for the server to cancel the rollback.
    await connection.rollback()


class _Told:
    """
    Says once that transactions are left open, and how to avoid it. It is not an error, and would
    be said once for each lease.

    Thread safety: from any thread. Two that are first at once may both say it.
    """

    def __init__(self) -> None:
        self._once = False

    def tell(self, connection: Anyhow) -> None:
        """`connection` came back in a transaction."""
        level = logging.DEBUG if self._once else logging.WARNING
        self._once = True
        _log.log(
            level,
            "A connection came back in a transaction, which is rolled back (%r). End it with "
            "commit() or rollback(), or open connections with autocommit=True.",
            connection,
        )
