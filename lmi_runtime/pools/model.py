"""Facts about connections, as pools and adapters tell them to each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

from lmi_runtime._facts import Facts

__all__ = ["Budget", "Connector", "Permit", "PoolStatistics"]

C = TypeVar("C")


class Connector(Facts, Generic[C]):
    """
    How connections of one kind are handled. Every adapter makes one.

    `open`, `close`, `check` and `reset` may do I/O. They are all plain functions, or all
    `async def`: then each connection belongs to the event loop that it was opened on. None of
    them is ever called under a lock, nor twice at once for one connection.

    Attributes:
        open: Makes a connection, or raises.
        close: Says goodbye and lets go of it. What it raises is logged and forgotten.
        check: One round trip; raises when the connection is dead. None: taken to be alive.
        reset: Brings a connection back to how it was opened. It is closed when this raises.
        needs_reset: Asked when a connection comes back, without I/O. True by default.
        usable: Whether it may be lent again, asked without I/O: neither closed nor in the
            middle of an exchange. True by default.
        abandon: Lets go of what a child inherited at a fork, sending nothing: the parent goes
            on using it. By default the child just never touches it again.
        name: What logs and statistics call this kind.
        asynchronous: Whether `open` and the others are `async def`.
    """

    open: Callable[[], C] | Callable[[], Awaitable[C]]
    close: Callable[[C], Any] | None = None
    check: Callable[[C], Any] | None = None
    reset: Callable[[C], Any] | None = None
    needs_reset: Callable[[C], bool] | None = None
    usable: Callable[[C], bool] | None = None
    abandon: Callable[[C], object] | None = None
    name: str = "connection"
    asynchronous: bool = False


class Permit(Protocol):
    """
    The right to hold one connection open.

    Thread safety: from any thread.
    """

    def release(self) -> None:
        """Give it back. Once; later calls do nothing."""
        ...


class Budget(Protocol):
    """
    A limit on open connections that several pools, or processes, share.

    Thread safety: from any thread.
    """

    def try_acquire(self) -> Permit | None:
        """A permit if one is free and nobody is waiting for it, else None. Never blocks."""
        ...

    def acquire(self, give_up: Callable[[], bool], owner: object = None) -> Permit | None:
        """
        Wait in line for a permit, first come first served.

        Args:
            give_up: Asked at least every 50 ms; True ends the wait.
            owner: For whom; see `others_wait`.

        Returns:
            The permit, or None when `give_up` said so.
        """
        ...

    def others_wait(self, owner: object = None) -> bool:
        """Whether anybody but `owner`, in any process, waits for a permit. Never blocks."""
        ...


class PoolStatistics(Facts):
    """
    What a pool has done, and how it is.

    Attributes:
        name: The pool's.
        max_size: Connections it may hold open.
        open: Connections that are open, idle or lent.
        opening: Connections that are being opened.
        idle: Connections that nobody uses.
        lent: Connections that somebody uses.
        waiting: Requests that wait for one.
        leases: Leases given since the pool was made.
        leases_direct: Those that did not have to wait.
        waited_s: Seconds that leases waited, all together.
        timeouts: Waits that ended without a connection for lack of time.
        cancelled: Waits that were given up.
        refused: Leases refused because too many waited already.
        opened: Connections opened since the pool was made.
        open_failures: Attempts to open one that failed.
        opening_s: Seconds spent on opening, all together.
        closed_expired: Connections closed at the end of their lifetime.
        closed_idle: Closed because nobody used them.
        closed_broken: Closed because a check, a reset or `usable` said so.
        closed_given_up: Closed for other processes that wait for the budget.
        closed_other: Closed because the pool shrank or closed, or their loop ended.
        leaks: Leases that were out for longer than allowed, or dropped.
    """

    name: str
    max_size: int
    open: int
    opening: int
    idle: int
    lent: int
    waiting: int
    leases: int
    leases_direct: int
    waited_s: float
    timeouts: int
    cancelled: int
    refused: int
    opened: int
    open_failures: int
    opening_s: float
    closed_expired: int
    closed_idle: int
    closed_broken: int
    closed_given_up: int
    closed_other: int
    leaks: int
