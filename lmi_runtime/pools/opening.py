"""
Open one connection for a lane of a pool.

Nobody's request opens it: whoever is first in line when it is ready gets it. A caller that is
cancelled, or served otherwise, leaves nothing half-open behind.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar, cast

from lmi_runtime import _sync
from lmi_runtime.pools.members import Lane
from lmi_runtime.pools.model import Permit

if TYPE_CHECKING:
    from lmi_runtime.pools.engine import Engine

__all__ = ["open_blocking", "open_in_task"]

C = TypeVar("C")

_LOOK_AGAIN_S = 0.02


def open_blocking(engine: Engine[C], lane: Lane[C]) -> None:
    """In a thread of its own."""
    permit: Permit | None = None
    began_s = _sync.monotonic()
    try:
        while (wait_s := engine.pause_before_opening_s(lane)) > 0:
            _sync.sleep(min(wait_s, _LOOK_AGAIN_S))
        if engine.budget is not None:
            permit = engine.budget.try_acquire() or engine.budget.acquire(
                lambda: not engine.wants(lane)
            )
        if not engine.wants(lane) or (engine.budget is not None and permit is None):
            engine.open_given_up(lane, permit)
            return
        began_s = _sync.monotonic()
        connection = cast("C", engine.connector.open())
    except BaseException as error:
        engine.open_failed(lane, permit, began_s, error)
    else:
        engine.opened(lane, connection, permit, began_s)


async def open_in_task(engine: Engine[C], lane: Lane[C]) -> None:
    """In a task of its own, on the lane's loop."""
    import anyio

    permit: Permit | None = None
    began_s = _sync.monotonic()
    try:
        # Looks again in between: nobody may want it any more.
        while (wait_s := engine.pause_before_opening_s(lane)) > 0:  # noqa: ASYNC110
            await anyio.sleep(min(wait_s, _LOOK_AGAIN_S))
        if engine.budget is not None:
            permit = await _permit(engine, lane)
            if permit is not None:
                lane.permits.add(permit)  # where it is found should the loop just stop
        if not engine.wants(lane) or (engine.budget is not None and permit is None):
            engine.open_given_up(lane, permit)
            return
        began_s = _sync.monotonic()
        opening = cast("Callable[[], Awaitable[C]]", engine.connector.open)
        connection = await _sync.limited(opening, engine.options.open_timeout_s)
    except Exception as error:
        engine.open_failed(lane, permit, began_s, error)
    except BaseException:  # the loop ends
        engine.open_given_up(lane, permit)
        raise
    else:
        engine.opened(lane, connection, permit, began_s)
    finally:
        if permit is not None:
            lane.permits.discard(permit)


async def _permit(engine: Engine[C], lane: Lane[C]) -> Permit | None:
    budget = engine.budget
    assert budget is not None
    got = budget.try_acquire()
    if got is not None:
        return got
    errand = _Errand(lambda left: budget.acquire(lambda: left() or not engine.wants(lane), engine))
    try:
        await errand.parker.park()
    except BaseException:  # the loop ends, and must not wait for the budget
        errand.leave()
        raise
    return errand.result()


class _Errand:
    """
    A thread waits in line for a permit, and a task for the thread, unless it leaves before.

    Thread safety: from the task and from the thread.
    """

    def __init__(self, acquire: Callable[[Callable[[], bool]], Permit | None]) -> None:
        self.parker = _sync.async_parker()
        self._acquire = acquire
        self._lock = _sync.Lock()
        self._left = False  # guarded by _lock
        self._permit: Permit | None = None  # guarded by _lock
        self._error: BaseException | None = None  # guarded by _lock
        _sync.spawn(self._run, name="wait for a permit")

    def _run(self) -> None:
        permit: Permit | None = None
        error: BaseException | None = None
        try:
            permit = self._acquire(lambda: self._left)
        except BaseException as raised:
            error = raised
        with self._lock:
            self._permit, self._error = permit, error
            left = self._left
        if left or not self.parker.unpark():
            self.leave()

    def leave(self) -> None:
        """Whatever it gets, or got, is for others."""
        with self._lock:
            self._left = True
            permit, self._permit = self._permit, None
        if permit is not None:
            permit.release()

    def result(self) -> Permit | None:
        """What the thread got; None when nobody wants it any more."""
        with self._lock:
            if self._error is not None:
                raise self._error
            return self._permit
