"""What stays behind when invocations have ended, and what grows with each of them."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lmi_runtime.stress.oracles.hints import hint
from lmi_runtime.stress.program import Complaint

__all__ = ["Growth", "Holdings", "growing", "grown", "hold", "leaked", "left_files"]

_DESCRIPTORS: Final = Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")
# They may stay, as long as they do not become more: what makes them once is no leak.
_ALLOWED: Final = {
    "threads": ("leak.thread", "live threads"),
    "descriptors": ("leak.descriptor", "open files and sockets"),
}
_NEVER: Final = {
    "tasks": ("leak.task", "tasks that nobody waits for"),
    "context": ("leak.context", "context variables that are still set"),
}


@dataclass(frozen=True, slots=True)
class Holdings:
    """
    What a process holds at one moment, by name, so that a report can say which.

    Attributes:
        threads: Names of live threads.
        descriptors: What open file descriptors stand for.
        tasks: Names of tasks that have not ended.
        context: Names of context variables that are set.
        leases: By pool: how many are out.
    """

    threads: tuple[str, ...] = ()
    descriptors: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    leases: Mapping[str, int] = field(default_factory=dict)

    def sizes(self) -> dict[str, int]:
        """How many of each, by what they are called, for `growing`."""
        counted = {text: len(getattr(self, name)) for name, (_, text) in _COUNTED.items()}
        return counted | {f"leases of {pool}": number for pool, number in self.leases.items()}


_COUNTED: Final = _ALLOWED | _NEVER


def hold(
    *,
    leases: Mapping[str, Callable[[], int]] | None = None,
    tasks: Iterable[asyncio.Task[object]] = (),
    context: contextvars.Context | None = None,
) -> Holdings:
    """
    Read what the process holds now.

    Args:
        leases: By name of a pool, how many are out.
        tasks: Those of the loop, ended or not.
        context: Where invocations leave variables set; the caller's by default.

    Thread safety: call while nothing else runs.
    """
    variables = contextvars.copy_context() if context is None else context
    return Holdings(
        threads=tuple(thread.name for thread in threading.enumerate()),
        descriptors=tuple(_open_files()),
        tasks=tuple(task.get_name() for task in tasks if not task.done()),
        context=tuple(variable.name for variable in variables),
        leases={name: count() for name, count in (leases or {}).items()},
    )


def _open_files() -> list[str]:
    found = []
    for name in os.listdir(_DESCRIPTORS):
        try:
            found.append(os.readlink(_DESCRIPTORS / name))
        except OSError:
            # Closed since, as the descriptor of the listing itself is; or the system has no
            # links there, and the descriptor is open.
            if sys.platform != "linux":
                found.append(f"descriptor {name}")
    return found


def leaked(
    before: Holdings, after: Holdings, serial: Sequence[Holdings] = ()
) -> tuple[Complaint, ...]:
    """
    What a run left behind.

    Args:
        before: Once the handler's module was imported.
        after: When all invocations had ended.
        serial: The same at the end of serial runs of the same invocations: threads of an
            executor and connections may stay, as many as they leave.
    """
    found = [
        complaint
        for name, (kind, text) in _ALLOWED.items()
        if serial
        for complaint in _more(kind, text, _most(serial, before, name), getattr(after, name))
    ]
    for name, (kind, text) in _NEVER.items():
        found += _more(kind, text, getattr(before, name), getattr(after, name))
    for pool, number in after.leases.items():
        more = number - before.leases.get(pool, 0)
        if more > 0:
            sentence = f"{pool} still has {_count(more, 'lease')} out that nobody will give back"
            found.append(Complaint("leak", sentence, hint("leak.lease"), pool))
    return tuple(found)


def _most(serial: Sequence[Holdings], before: Holdings, name: str) -> tuple[str, ...]:
    return max(
        (getattr(it, name) for it in serial),
        key=len,
        default=tuple[str, ...](getattr(before, name)),
    )


def _more(
    kind: str, text: str, allowed: tuple[str, ...], held: tuple[str, ...]
) -> Iterable[Complaint]:
    more = len(held) - len(allowed)
    if more > 0:
        new = list(held)
        for name in allowed:
            if name in new:
                new.remove(name)
        shown = ", ".join(new[:5]) or "of the same names"
        sentence = f"{_count(more, 'more')} {text} than there should be: {shown}"
        yield Complaint("leak", sentence, hint(kind), text)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 or noun == "more" else f"{number} {noun}s"


@dataclass(frozen=True, slots=True)
class Growth:
    """
    Something that grows with every invocation.

    Attributes:
        path: What a person would write: ``app.SEEN``.
        sizes: After 1, 2, 3 and so on invocations.
    """

    path: str
    sizes: tuple[int, ...]

    @property
    def sentence(self) -> str:
        """What grows, and how."""
        shown = ", ".join(map(str, self.sizes[:-1]))
        return (
            f"{self.path} grows with every invocation: {shown} and {self.sizes[-1]} after "
            f"1 to {len(self.sizes)} of the same event"
        )


def growing(sizes: Sequence[Mapping[str, int]]) -> tuple[Growth, ...]:
    """
    What grows each time.

    A cache that is keyed by the event does not, because the events are the same.

    Args:
        sizes: After 1, 2, ... serial invocations with the same event, from fresh starts: of
            containers by path, and whatever else can be counted. Two readings are the least.
    """
    if len(sizes) < 2:
        return ()
    series = {path: tuple(it.get(path, 0) for it in sizes) for path in sizes[-1]}
    return tuple(
        Growth(path, values)
        for path, values in series.items()
        if all(a < b for a, b in itertools.pairwise(values))
    )


_KIND_OF: Final = {text: kind for kind, text in _COUNTED.values()}


def grown(sizes: Sequence[Mapping[str, int]]) -> tuple[Complaint, ...]:
    """The same as complaints; of a container in another only the outer one is named."""
    found: list[Growth] = []
    for growth in sorted(growing(sizes), key=lambda it: len(it.path)):
        inside = any(growth.path.startswith((f"{it.path}[", f"{it.path}.")) for it in found)
        if not inside:
            found.append(growth)
    return tuple(
        Complaint("leak", it.sentence, hint(_kind_of_growth(it.path)), it.path) for it in found
    )


def _kind_of_growth(path: str) -> str:
    if path.startswith("logging.getLogger("):
        return "leak.handler"
    if path.startswith("leases of "):
        return "leak.lease"
    return _KIND_OF.get(path, "leak.growth")


def left_files(
    made: Iterable[tuple[str, int]], exists: Callable[[str], bool] = os.path.lexists
) -> tuple[Complaint, ...]:
    """
    Files and directories that an invocation made for itself and did not take away.

    Args:
        made: Path and number of the invocation, from `environment.own_files`.
        exists: Whether a path is still there.
    """
    left = [(path, number) for path, number in made if exists(path)]
    outer = {path for path, _ in left}
    return tuple(
        Complaint("leak", f"invocation {number} leaves {path} behind", hint("leak.file"), "/tmp")
        for path, number in left
        if not any(str(parent) in outer for parent in Path(path).parents)
    )
