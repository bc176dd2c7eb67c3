"""Borrow one connection: the two shells around one set of decisions."""

from __future__ import annotations

import asyncio
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

from lmi_runtime import _sync
from lmi_runtime.context import peek
from lmi_runtime.errors import WrongKindOfCaller
from lmi_runtime.pools.core import Orders, PoolState
from lmi_runtime.pools.leaks import place_of
from lmi_runtime.pools.members import Member

if TYPE_CHECKING:
    from lmi_runtime.pools.pool import Pool

__all__ = ["Lease"]

C = TypeVar("C")

_now = _sync.monotonic
_running_loop = asyncio._get_running_loop


class Lease(Generic[C]):
    """
    The use of one connection for a while; made by `Pool.lease`.

    ``with`` is for threads, ``async with`` for tasks. Or take and return the connection by hand,
    with `acquire` and `release`, or `aacquire` and `arelease`. It may be used again when the
    connection has been returned.

    Thread safety: belongs to one thread or task at a time.
    """

    __slots__ = ("_member", "_pool", "_state", "_timeout_s")

    def __init__(self, pool: Pool[C], timeout_s: float | None) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._member: Member[C] | None = None
        self._state: PoolState[C]

    # ------------------------------------------------------------------ threads

    def __enter__(self) -> C:
        pool = self._pool
        state = pool._state
        lane = state.only
        if lane is None or _running_loop() is not None or self._member is not None:
            raise self._wrong_caller()
        now_s = _now()
        # The way of most leases, written out: calls would cost more than what they do.
        with state.lock:
            idle = lane.idle
            if idle and now_s < idle[-1].fresh_until_s:
                member = idle.pop()
                member.lent = True
                member.leased_s = now_s
                state.leases += 1
            else:
                member = None
        if member is None:
            member = pool.acquire(state, lane, now_s, self._timeout_s)
        self._state = state
        self._member = member
        member.request = peek()
        member.where = place_of(sys._getframe(1))
        return member.connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        member = self._member
        if member is None:
            return
        self._member = None
        if kind is None and self._pool.plain:
            self._give_back(member)
        else:
            self._pool.take_back(self._state, member, error)

    def acquire(self) -> C:
        """
        Take a connection, as a thread.

        Raises:
            PoolTimeout: None became free in time, or before the request's deadline.
            PoolOverloaded: Too many requests wait already.
            PoolClosed: The pool has been closed.
            WrongKindOfCaller: An event loop runs in this thread, or the connections need one.
            RuntimeError: This lease has a connection already.
            Exception: What opening a connection raised.
        """
        return self.__enter__()

    def release(self) -> None:
        """Return the connection, as a thread. Nothing happens when there is none."""
        self.__exit__(None, None, None)

    # -------------------------------------------------------------------- tasks

    async def __aenter__(self) -> C:
        pool = self._pool
        state = pool._state
        lane = state.only or pool.lane_here(state)
        if self._member is not None:
            raise self._wrong_caller()
        now_s = _now()
        with state.lock:
            idle = lane.idle
            if idle and now_s < idle[-1].fresh_until_s:
                member = idle.pop()
                member.lent = True
                member.leased_s = now_s
                state.leases += 1
            else:
                member = None
        if member is None:
            member = await pool.aacquire(state, lane, now_s, self._timeout_s)
        self._state = state
        self._member = member
        member.request = peek()
        member.where = place_of(sys._getframe(1))
        return member.connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        member = self._member
        if member is None:
            return
        self._member = None
        if kind is None and self._pool.plain:
            self._give_back(member)
        else:
            await self._pool.atake_back(self._state, member, error)

    async def aacquire(self) -> C:
        """Take a connection, as a task; raises what `acquire` raises."""
        return await self.__aenter__()

    async def arelease(self) -> None:
        """Return the connection, as a task. Nothing happens when there is none."""
        await self.__aexit__(None, None, None)

    # --------------------------------------------------------------------- both

    def discard(self) -> None:
        """See to it that the connection is closed when it is returned, not lent again."""
        member = self._member
        if member is not None:
            with self._state.lock:
                member.doomed = member.doomed or "closed_broken"

    def _give_back(self, member: Member[C]) -> None:
        """A connection that is as it was; written out for the same reason."""
        state = self._state
        now_s = _now()
        with state.lock:
            lane = member.lane
            if (
                not lane.line
                and member.doomed is None
                and not member.suspect
                and now_s < member.expires_s
                and state.simple
            ):
                member.lent = False
                member.request = None
                member.returned_s = now_s
                fresh_until_s = now_s + state.options.bypass_check_s
                member.fresh_until_s = min(fresh_until_s, member.expires_s)
                lane.idle.append(member)
                return
            orders: Orders[C] = Orders()
            state.give_locked(member, now_s, orders)
        self._pool.carry_out(state, orders)

    def _wrong_caller(self) -> Exception:
        if self._member is not None:
            return RuntimeError("This lease has a connection already: return that first.")
        if self._pool.connector.asynchronous:
            return WrongKindOfCaller(
                f"Pool {self._pool.name!r} opens its connections with an async function: only "
                "tasks can borrow them, with `async with pool.lease()`."
            )
        return WrongKindOfCaller(
            "An event loop runs in this thread, and waiting for a connection would stop it: write "
            "`async with pool.lease()`, or call this code through anyio.to_thread.run_sync."
        )

    def __del__(self) -> None:
        member = getattr(self, "_member", None)
        if member is not None:
            # Anywhere, perhaps under the pool's lock: somebody else sees to it.
            self._pool.dropped(self._state, member)
