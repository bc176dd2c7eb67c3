"""What tasks wait for, in words, at the moment when nobody can go on."""

from __future__ import annotations

import asyncio
import linecache
import re
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import CoroutineType, FrameType
from typing import Any, NamedTuple

from lmi_runtime.stress.control.naming import before, made_name

__all__ = ["Stuck", "innermost", "stuck_in_trio", "stuck_tasks"]


class Stuck(NamedTuple):
    """
    A task that waits for ever.

    Attributes:
        sentence: Who waits where for what.
        name: Of what it waits for.
        notifies: It waits for somebody to tell it something, not for somebody to let go.
    """

    sentence: str
    name: str
    notifies: bool


def innermost(coroutine: Any) -> FrameType | None:
    """Where a suspended chain of coroutines stands in code of the user."""
    frame: FrameType | None = None
    while type(coroutine) is CoroutineType:  # nearly all are: this is done at every decision
        here = coroutine.cr_frame
        if here is None:
            return frame
        if frame is None or not here.f_code.co_filename.startswith(_BELOW):
            frame = here
        coroutine = coroutine.cr_await
    if coroutine is None:
        return frame
    for other in _frames(coroutine):
        if frame is None or not other.f_code.co_filename.startswith(_BELOW):
            frame = other
    return frame


_LIBRARIES = sysconfig.get_path("purelib")
_BELOW = (
    asyncio.__file__.rpartition("/")[0],
    f"{_LIBRARIES}/anyio/",
    f"{_LIBRARIES}/trio/",
    __file__.rpartition("/")[0],
)
_DEEPEST = 50


def _frames(coroutine: Any) -> Iterator[FrameType]:
    """Outermost first."""
    for _ in range(_DEEPEST):
        kind = _KINDS.get(type(coroutine))
        if kind is None:
            kind = _KINDS[type(coroutine)] = _kind_of(coroutine)
        frame_name, awaits_name = kind
        if not frame_name:
            return
        frame = getattr(coroutine, frame_name)
        if frame is None:
            return
        yield frame
        coroutine = getattr(coroutine, awaits_name)


_KINDS: dict[type, tuple[str, str]] = {type(None): ("", "")}
"""How a kind of coroutine calls its frame, and what it awaits; grows by kinds only."""


def _kind_of(coroutine: Any) -> tuple[str, str]:
    for prefix, awaits in (("cr", "cr_await"), ("ag", "ag_await"), ("gi", "gi_yieldfrom")):
        if hasattr(coroutine, f"{prefix}_frame"):
            return f"{prefix}_frame", awaits
    return "", ""


class _Stopped(NamedTuple):
    task: Any
    name: str
    coroutine: Any
    children: frozenset[Any]
    """For whose end it waits."""


def stuck_tasks(tasks: Iterable[Any]) -> list[Stuck]:
    """One for each task that waits for something other than tasks that are told of themselves."""
    return _told(
        [
            _Stopped(task, task.get_name(), task.get_coro(), frozenset(_children_of(task)))
            for task in tasks
            if not task.done()
        ]
    )


def stuck_in_trio(tasks: Iterable[Any]) -> list[Stuck]:
    """The same for tasks of Trio."""
    return _told(
        [
            _Stopped(
                task,
                task.name.rpartition(".")[2],
                task.coro,
                frozenset(child for each in task.child_nurseries for child in each.child_tasks),
            )
            for task in tasks
            if task.coro.cr_frame is not None
        ]
    )


def _told(stopped: list[_Stopped]) -> list[Stuck]:
    names = {each.task: each.name for each in stopped}
    leaves = [each for each in stopped if not each.children & set(names)] or stopped
    waits = [(each, _waits_for(each, names)) for each in leaves]
    holds: dict[Any, list[str]] = {}
    for _, wait in waits:
        if wait.owner is not None and wait.name not in holds.setdefault(wait.owner, []):
            holds[wait.owner].append(wait.name)
    return [_sentence(each, wait, holds.get(each.task, ()), names) for each, wait in waits]


class _Wait(NamedTuple):
    words: str
    name: str
    notifies: bool = False
    owner: Any = None


def _waits_for(stopped: _Stopped, names: Mapping[Any, str]) -> _Wait:
    user = innermost(stopped.coroutine)
    for frame in _frames(stopped.coroutine):
        known = _WAITS.get(frame.f_code.co_qualname)
        if known is not None and frame.f_code.co_filename.startswith(_BELOW):
            thing = frame.f_locals.get("self")
            words, notifies = known
            name = made_name(thing) or (_awaited(user) if user is not None else "")
            name = name or f"a {type(thing).__name__}"
            return _Wait(words.format(name), name, notifies, _owner_of(thing))
    children = sorted(names.get(each, "a task") for each in stopped.children)
    if children:
        name = ", ".join(children)
        return _Wait(f"waits for {name} to end", name)
    name = "something that never comes" if user is None else _source_of(user)
    return _Wait(f"waits in `{name}` for what never comes", name)


def _owner_of(lock: Any) -> Any:
    for attribute in ("_stress_owner", "_owner", "_owner_task"):  # ours, Trio's, anyio's
        owner = getattr(lock, attribute, None)
        if owner is not None:
            return owner
    return None


def _sentence(
    stopped: _Stopped, wait: _Wait, holds: Sequence[str], names: Mapping[Any, str]
) -> Stuck:
    sentence = stopped.name
    if holds:
        sentence += f" holds {', '.join(holds)} and"
    sentence += f" {wait.words}"
    if wait.owner is stopped.task:
        sentence += ", held by itself"
    elif wait.owner in names:
        sentence += f", held by {names[wait.owner]}"
    elif wait.owner is not None:
        name = getattr(wait.owner, "get_name", lambda: wait.owner.name)()
        sentence += f", held by {name} (done)"
    user = innermost(stopped.coroutine)
    if user is not None:
        sentence += f" (at {_short(user)})"
    return Stuck(sentence, wait.name, wait.notifies)


_NOTIFIED = ("waits to be notified through {}", True)
_WAITS: dict[str, tuple[str, bool]] = {
    "Lock.acquire": ("waits for {}", False),
    "_LockImpl.acquire": ("waits for {}", False),
    "Semaphore.acquire": ("waits for {}, of which nothing is left", False),
    "CapacityLimiter.acquire_on_behalf_of": ("waits for {}, of which nothing is left", False),
    "Event.wait": _NOTIFIED,
    "Condition.wait": _NOTIFIED,
    "Queue.get": ("waits for an item in {}", True),
    "Queue.put": ("waits for room in {}", True),
    "Queue.join": ("waits until everything in {} is done", True),
    "Barrier.wait": ("waits for others at {}", True),
    "MemoryReceiveChannel.receive": ("waits for an item in {}", True),
    "MemorySendChannel.send": ("waits for room in {}", True),
    "MemoryObjectReceiveStream.receive": ("waits for an item in {}", True),
    "MemoryObjectSendStream.send": ("waits for room in {}", True),
}
"""The methods in which asyncio, Trio and anyio wait; the outermost that is found is the user's."""


def _children_of(task: Any) -> set[Any]:
    """The tasks for whose end it waits, directly or through gather, wait and the like."""
    found: set[Any] = set()
    todo = [task._fut_waiter]
    for frame in _frames(task.get_coro()):
        waits_for = _TREES.get(frame.f_code.co_qualname)
        if waits_for is not None and frame.f_code.co_filename.startswith(_BELOW):
            todo += _things(frame, *waits_for)
    while todo:
        future = todo.pop()
        if future is None or future.done():
            continue
        if hasattr(future, "get_coro"):
            found.add(future)
        todo += getattr(future, "_children", ())
    return found


_TREES: dict[str, tuple[str, str]] = {
    "_wait": ("fs", ""),
    "wait_for": ("fut", ""),
    "TaskGroup.__aexit__": ("self", "_tasks"),
    "TaskGroup._aexit": ("self", "_tasks"),
}
"""Where asyncio keeps the futures that it waits for: a variable, and an attribute of it."""


def _things(frame: FrameType, variable: str, attribute: str) -> list[Any]:
    thing = frame.f_locals.get(variable)
    if attribute:
        thing = getattr(thing, attribute, ())
    if asyncio.isfuture(thing):
        return [thing]
    return [each for each in thing or () if asyncio.isfuture(each)]


_EXPRESSION = re.compile(r"(?:(?:await|async with|async for\b.*\bin)\s+)?([A-Za-z_][\w.\[\]'\"]*)")
_METHODS = (".acquire", ".get", ".join", ".put", ".receive", ".send", ".wait", ".wait_for")


def _awaited(frame: FrameType) -> str:
    """The expression that is awaited on the current line, without the method."""
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno or 0)
    found = _EXPRESSION.match(line[len(before(frame.f_code, frame.f_lineno, frame.f_lasti)) :])
    if found is None:
        return ""
    name = found.group(1)
    for method in _METHODS:
        name = name.removesuffix(method)
    return name


def _short(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"


def _source_of(frame: FrameType) -> str:
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno or 0).strip()
    return line.removesuffix(":") or frame.f_code.co_qualname
