"""Borrow one connection: the two shells around one set of decisions."""

from __future__ import annotations

from sys import _getframe
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

from lmi_runtime import _sync
from lmi_runtime.context import peek
from lmi_runtime.errors import WrongKindOfCaller
from lmi_runtime.pools.core import Orders
from lmi_runtime.pools.engine import Engine
from lmi_runtime.pools.leaks import place_of
from lmi_runtime.pools.members import Member
from lmi_runtime.pools.returning import take_back, take_back_in_task
from lmi_runtime.pools.tending import drop
from lmi_runtime.pools.waiting import acquire, acquire_in_task

if TYPE_CHECKING:
    from lmi_runtime.pools.pool import Pool

__all__ = ["Lease"]

C = TypeVar("C")

_now = _sync.monotonic
_running_loop = _sync.running_loop


class Lease(Generic[C]):
    """
    The use of one connection for a while; made by `Pool.lease`.

    ``with`` is for threads, ``async with`` for tasks. Or take and return the connection by hand,
    with `acquire` and `release`, or `aacquire` and `arelease`. It may be used again when the
    connection has been returned.

    Thread safety: belongs to one thread or task at a time.
    """

    __slots__ = ("_engine", "_member", "_pool", "_timeout_s")

    def __init__(self, pool: Pool[C], timeout_s: float | None) -> None:
        self._member: Member[C] | None = None
        self._pool = pool
        self._timeout_s = timeout_s
        self._engine: Engine[C]  # the one that the connection came from

    # ------------------------------------------------------------------ threads

    def __enter__(self) -> C:
        engine = self._pool._engine
        state = engine.state
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
            if _sync.current_home() is not None:  # trio's; looked for only where we would wait
                raise self._wrong_caller()
            member = acquire(engine, lane, now_s, self._timeout_s)
        self._engine = engine
        self._member = member
        member.request = peek()
        frame = _getframe(1)
        member.where = place_of(frame) if state.leaky else ((frame.f_code, frame.f_lasti),)
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
        if kind is None and self._engine.plain:
            self._give_back(member)
        else:
            take_back(self._engine, member, error)

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
        connection = self.__enter__()
        self._note_place(_getframe(1))
        return connection

    def release(self) -> None:
        """Return the connection, as a thread. Nothing happens when there is none."""
        self.__exit__(None, None, None)

    # -------------------------------------------------------------------- tasks

    async def __aenter__(self) -> C:
        engine = self._pool._engine
        state = engine.state
        lane = state.only or state.lanes.get(_running_loop()) or engine.lane_here()
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
            member = await acquire_in_task(engine, lane, now_s, self._timeout_s)
        self._engine = engine
        self._member = member
        member.request = peek()
        frame = _getframe(1)
        member.where = place_of(frame) if state.leaky else ((frame.f_code, frame.f_lasti),)
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
        if kind is None and self._engine.plain:
            self._give_back(member)
        else:
            await take_back_in_task(self._engine, member, error)

    async def aacquire(self) -> C:
        """Take a connection, as a task; raises what `acquire` raises."""
        connection = await self.__aenter__()
        self._note_place(_getframe(1))
        return connection

    async def arelease(self) -> None:
        """Return the connection, as a task. Nothing happens when there is none."""
        await self.__aexit__(None, None, None)

    # --------------------------------------------------------------------- both

    def discard(self) -> None:
        """See to it that the connection is closed when it is returned, not lent again."""
        member = self._member
        if member is not None:
            with self._engine.state.lock:
                member.doom("closed_broken")

    def _note_place(self, frame: FrameType) -> None:
        """What is taken by hand is forgotten more often than what a block returns."""
        assert self._member is not None
        self._member.where = place_of(frame)

    def _give_back(self, member: Member[C]) -> None:
        """A connection that is as it was; written out for the same reason."""
        state = self._engine.state
        lane = member.lane
        now_s = _now()
        if state.lock._is_owned():  # type: ignore[attr-defined]
            self._engine.give(member, good=True)  # which puts it off
            return
        _request = member.request  # what it keeps is not finalized under the lock
        with state.lock:
            if now_s < member.kept_until_s and not lane.line and state.simple:
                member.lent = False
                member.request = None
                member.returned_s = now_s
                fresh_until_s = now_s + state.bypass_check_s
                expires_s = member.expires_s
                member.fresh_until_s = fresh_until_s if fresh_until_s < expires_s else expires_s
                lane.idle.append(member)
                return
            orders: Orders[C] = Orders()
            state.give_locked(member, now_s, orders)
        self._engine.carry_out(orders)

    def _wrong_caller(self) -> Exception:
        if self._member is not None:
            return RuntimeError("This lease has a connection already: return that first.")
        if self._pool._engine.connector.asynchronous:
            return WrongKindOfCaller(
                f"Pool {self._pool.name!r} opens its connections with an async function: only "
                "tasks can borrow them, with `async with pool.lease()`."
            )
        return WrongKindOfCaller(
            "An event loop runs in this thread, and waiting for a connection would stop it: write "
            "`async with pool.lease()`, or call this code through anyio.to_thread.run_sync."
        )

    def __del__(self) -> None:
        member = self._member
        if member is not None:
            # Anywhere, perhaps under the pool's lock: somebody else sees to it.
            drop(self._engine, member)
