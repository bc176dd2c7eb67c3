"""Who waits for whom, in words, at the moment when nobody can go on."""

from __future__ import annotations

import queue
import sys
from collections.abc import Sequence
from typing import Any

from lmi_runtime.stress.control.actors import Actor
from lmi_runtime.stress.control.naming import name_of
from lmi_runtime.stress.program import Complaint

__all__ = ["describe_deadlock"]


def describe_deadlock(actors: Sequence[Actor]) -> Complaint:
    """
    What holds everybody up, told while they still wait.

    Thread safety: by the holder of the baton.
    """
    stuck = [actor for actor in actors if actor.waiting is not None and _matters(actor)]
    lines: list[str] = []
    names: set[str] = set()
    lost = bool(stuck)
    for actor in stuck:
        waiting = actor.waiting
        assert waiting is not None
        if waiting.what == "loop":
            told = waiting.thing.stuck()
            lines += [each.sentence for each in told]
            names |= {each.name for each in told if each.name}
            lost = lost and bool(told) and all(each.notifies for each in told)
            continue
        lines.append(_line_of(actor))
        lost = lost and waiting.what == "lock" and waiting.thing.notifies
        if waiting.what == "lock":
            names.add(name_of(waiting.thing))
    return Complaint(
        "deadlock",
        ("Lost wakeup: " if lost else "Deadlock: ") + "; ".join(lines) + ".",
        "Wait in a loop that checks the condition, and notify under the same lock."
        if lost
        else "Take the locks in one order everywhere, and give them back in `finally`.",
        object_path=", ".join(sorted(names)),
        cycle=tuple(lines),
    )


def _matters(actor: Actor) -> bool:
    """Workers that wait for work are no part of it."""
    waiting = actor.waiting
    if actor.is_participant:
        return True
    if waiting is None or waiting.what != "lock":
        return False
    return not waiting.thing.notifies or not _waits_for_work(actor)


def _waits_for_work(actor: Actor) -> bool:
    frame = sys._current_frames().get(actor.ident)
    while frame is not None and frame.f_code not in _GETS:
        frame = frame.f_back
    return frame is not None


_GETS = frozenset(
    [
        queue.Queue.get.__code__,
        queue._PySimpleQueue.get.__code__,  # type: ignore[attr-defined]
    ]
)


def _line_of(actor: Actor) -> str:
    waiting = actor.waiting
    assert waiting is not None
    held = [name_of(lock) for lock in actor.held if not lock.notifies]
    holds = f"holds {', '.join(held)} and " if held else ""
    return f"{actor.name} {holds}{_wait_of(waiting.what, waiting.thing)}"


def _wait_of(what: str, thing: Any) -> str:
    if what == "join":
        return f"waits for {thing.name} to end"
    if what != "lock":
        return "waits for something that never comes"
    if thing.notifies:
        return f"waits to be notified through {name_of(thing)}"
    owner = thing.owner
    if owner is None:
        return f"waits for {name_of(thing)}, which nobody in this run holds"
    return f"waits for {name_of(thing)}, held by {owner.name}{' (done)' if owner.done else ''}"
