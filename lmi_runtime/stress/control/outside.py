"""
Threads that take no part in a run, and use the same locks.

A library's worker may hold a lock that actors want, or bring what they wait for. It lives in real
time, so before a run is called deadlocked it gets some.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lmi_runtime.stress.control import raw
from lmi_runtime.stress.control.actors import Actor

if TYPE_CHECKING:
    from lmi_runtime.stress.control.scheduler import Scheduler

__all__ = ["forget_outsiders", "note_outsider", "wait_for_outsiders"]

_explorer = 0  # exploring thread; written between runs
_seen: set[int] = set()  # threads outside that have used a lock under control
_PAUSE_S = 0.002


def forget_outsiders() -> None:
    """Control begins; by the thread that explores from now on."""
    global _explorer
    _explorer = raw.get_ident()
    _seen.clear()


def note_outsider() -> None:
    """A thread that is no actor uses a lock."""
    ident = raw.get_ident()
    if ident != _explorer:
        _seen.add(ident)


def wait_for_outsiders(run: Scheduler, patience_s: float) -> bool:
    """
    Give threads outside the run time to give back, or to bring, what the actors wait for.

    Returns:
        Whether somebody can go on now. If not although such threads live, the run says so.

    Thread safety: by the holder of the baton.
    """
    if _released(run):
        return True
    names = _alive(run.actors) if _could_come_from_outside(run.actors) else []
    if not names:
        return False
    run.waits_outside = True
    came = _comes(run, patience_s)
    run.waits_outside = False
    if came:
        return True
    run.uncontrolled.append(
        f"Nobody in the run can go on. What they wait for could come from {', '.join(names)}, "
        f"outside the run; it did not within {patience_s:g} s."
    )
    return False


def _comes(run: Scheduler, patience_s: float) -> bool:
    """Counted in pauses, as nobody outside does anything while the machine stands still."""
    for _ in range(int(patience_s / _PAUSE_S)):
        raw.sleep(_PAUSE_S)
        if _released(run):
            return True
    return False


def _released(run: Scheduler) -> bool:
    free = [lock for lock in _wanted(run.actors) if not lock.locked_now()]
    for lock in free:
        lock.wake(run)
    return bool(free)


def _wanted(actors: Sequence[Actor]) -> list[Any]:
    return [
        actor.waiting.thing
        for actor in actors
        if actor.waiting is not None and actor.waiting.what == "lock"
    ]


def _could_come_from_outside(actors: Sequence[Actor]) -> bool:
    return any(lock.owner is None or lock.notifies for lock in _wanted(actors))


def _alive(actors: Sequence[Actor]) -> list[str]:
    """Names of the threads outside that still live, and wait for no actor to end."""
    if not _seen:
        return []
    inside = {actor.ident for actor in actors}
    threads = {thread.ident: thread.name for thread in threading.enumerate()}
    _seen.intersection_update([ident for ident in threads if ident is not None])
    return sorted(threads[ident] for ident in _seen - inside)
