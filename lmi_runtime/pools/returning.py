"""A connection comes back, perhaps not as it was lent."""

from __future__ import annotations

from typing import TypeVar

from lmi_runtime import _sync
from lmi_runtime.pools.engine import Engine
from lmi_runtime.pools.members import Member

__all__ = ["take_back", "take_back_in_task"]

C = TypeVar("C")


def take_back(engine: Engine[C], member: Member[C], error: BaseException | None) -> None:
    """From a thread; `error` ended its block."""
    if engine.state.inherited:
        return  # a child has nothing to say to it
    good = False
    try:
        good = _good_as_it_is(engine, member, error)
        if good and engine.handling.must_reset(member):
            good = False
            good = engine.handling.reset(member, engine.options.io_timeout_s)
    finally:
        engine.give(member, good=good)


async def take_back_in_task(
    engine: Engine[C], member: Member[C], error: BaseException | None
) -> None:
    """From a task; `error` ended its block."""
    if engine.state.inherited:
        return
    good = _good_as_it_is(engine, member, error)
    if not good or not engine.handling.must_reset(member):
        engine.give(member, good=good)
        return
    done: list[bool] = []

    async def reset() -> None:
        done.append(await engine.handling.areset(member, engine.options.io_timeout_s))

    try:
        await _sync.shielded(reset)
    finally:
        engine.give(member, good=done == [True])


def _good_as_it_is(engine: Engine[C], member: Member[C], error: BaseException | None) -> bool:
    cancelled = error is not None and not isinstance(error, Exception)
    if cancelled and not engine.options.reset_after_cancel:
        return False
    if engine.handling.looks_usable(member):
        return True
    engine.distrust_others()
    return False
