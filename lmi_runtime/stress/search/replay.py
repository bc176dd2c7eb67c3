"""Follow a token, also on another Python version than the one that made it."""

from __future__ import annotations

import ast
import functools
import linecache
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lmi_runtime.stress.model import DeviationKind, Granularity, Place
from lmi_runtime.stress.program import Chooser, Execution
from lmi_runtime.stress.search.chooser import Scripted
from lmi_runtime.stress.search.tokens import Key, Replay

__all__ = ["Replayer", "make_replay", "python_version", "reproduce"]

_COMPREHENSIONS = tuple(f".<locals>.<{each}>" for each in ("listcomp", "dictcomp", "setcomp"))

_Spot = tuple[str, int, str]
"""Function, line relative to it, label."""


def python_version() -> str:
    """``3.13``."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def make_replay(
    subject: str, granularity: Granularity, execution: Execution, events: Sequence[Any] = ()
) -> Replay:
    """
    What a token needs to say, from a recorded run.

    Args:
        subject: What was explored.
        granularity: Of the run.
        execution: The run, with its decisions and places.
        events: Of the invocations.
    """
    wanted = {(each.kind, each.actor, each.visit): None for each in execution.taken}
    keys: dict[tuple[DeviationKind, int, int], Key | None] = dict(wanted)
    counter = _Counter(execution.places)
    for decision in execution.decisions:
        key = counter.count(decision.kind, decision.actor, decision.site)
        at = (decision.kind, decision.actor, decision.visit)
        if at in keys:
            keys[at] = key
    return Replay(
        subject=subject,
        granularity=granularity,
        schedule=execution.taken,
        keys=tuple(keys.values()),
        events=tuple(events),
        python=python_version(),
    )


class Replayer:
    """
    Leaves the default where the keys of a replay say, whatever the Python version.

    Between versions bytecode differs, so a thread passes more or fewer decisions; what is
    counted instead is how often it came to the same operation on the same line. A deviation
    without a key is found by its visit.

    Attributes:
        missed: Indices of the deviations that have not taken place.

    Thread safety: its state is the baton holder's, see `Chooser`.
    """

    def __init__(self, replay: Replay, places: Mapping[int, Place], *, labels: bool = True) -> None:
        """
        Args:
            replay: What to follow.
            places: Of the sites known so far, see `reproduce`.
            labels: Count operations apart that are on one line.
        """
        self._counter = _Counter(places)
        self._labels = labels
        self._wanted: dict[tuple[Any, ...], int] = {}
        for index, (deviation, key) in enumerate(zip(replay.schedule, replay.keys, strict=True)):
            at = (deviation.kind, deviation.actor)
            self._wanted[(*at, *(self._name(key) if key else (deviation.visit,)))] = index
        self._schedule = replay.schedule
        self.missed = set(range(len(replay.schedule)))

    def choose(
        self, kind: DeviationKind, actor: int, visit: int, options: tuple[int, ...], site: int
    ) -> int:
        """The target of the deviation whose key this decision has, else the default."""
        key = self._counter.count(kind, actor, site)
        index = self._wanted.get((kind, actor, *(self._name(key) if key else (visit,))))
        if index is None or self._schedule[index].to not in options:
            return options[0]
        self.missed.discard(index)
        return self._schedule[index].to

    def _name(self, key: Key) -> tuple[object, ...]:
        if self._labels:
            return key.function, key.line, key.label, key.nth
        return key.function, key.line, key.nth_on_line


def reproduce(replay: Replay, run: Callable[[Chooser, bool], Execution]) -> Execution:
    """
    The run that a replay describes, as near as this Python version and this source allow.

    The version that made it follows the schedule as it is. Another one finds its way by the
    keys, operations counted apart first, then all that is on one line: what one version does in
    an operation of its own, another may do in a call like any other. The run that fails is the
    one that was meant.

    Args:
        replay: From `decode`.
        run: Makes one run; records it when the second argument is true.
    """
    execution = run(Scripted(replay.schedule), True)
    if replay.python in ("", python_version()) and _same(execution, replay):
        return execution
    followed = []
    for labels in (True, False):
        attempt = _follow(replay, run, execution.places, labels=labels)
        if attempt is None:
            continue
        if attempt.complaints:
            return attempt
        followed.append(attempt)
    return execution if execution.complaints or not followed else followed[0]


def _follow(
    replay: Replay,
    run: Callable[[Chooser, bool], Execution],
    known: Mapping[int, Place],
    *,
    labels: bool,
) -> Execution | None:
    """
    The run in which all deviations take place, if there is one.

    A site has no place until a recorded run has passed it, so each run may reach one deviation
    more than the one before, until all have taken place or nothing new is seen.
    """
    places = dict(known)
    while True:
        chooser = Replayer(replay, places, labels=labels)
        attempt = run(chooser, True)
        if not chooser.missed:
            return attempt
        before = len(places)
        places.update(attempt.places)
        if len(places) == before:
            return None


def _same(execution: Execution, replay: Replay) -> bool:
    if execution.taken != replay.schedule:
        return False
    return make_replay("", replay.granularity, execution).keys == replay.keys


class _Counter:
    """Numbers the decisions of each actor at each spot."""

    def __init__(self, places: Mapping[int, Place]) -> None:
        self._places = places
        self._spots: dict[int, _Spot | None] = {}
        self._nth: dict[tuple[Any, ...], int] = defaultdict(int)

    def count(self, kind: DeviationKind, actor: int, site: int) -> Key | None:
        if site not in self._spots:
            place = self._places.get(site)
            self._spots[site] = _spot(place) if place is not None else None
        spot = self._spots[site]
        if spot is None:
            return None
        function, line, label = spot
        exact, near = (kind, actor, *spot), (kind, actor, function, line)
        nth, nth_on_line = self._nth[exact], self._nth[near]
        self._nth[exact] += 1
        self._nth[near] += 1
        return Key(function, line, label, nth, nth_on_line)


def _spot(place: Place) -> _Spot:
    function = place.function
    while function.endswith(_COMPREHENSIONS):
        function = function.rpartition(".<locals>.")[0]
    return function, place.line - _first_line(place.file, function, place.line), place.label


def _first_line(file: str, function: str, line: int) -> int:
    """Where the function begins that has this name and encloses the line; 0 if not known."""
    starts = [
        start
        for name, start, end in _functions(file, "".join(linecache.getlines(file)))
        if name == function and start <= line <= end
    ]
    return max(starts, default=0)


@functools.lru_cache(maxsize=64)
def _functions(file: str, source: str) -> tuple[tuple[str, int, int], ...]:
    """Qualified name, first and last line of every function of a source text."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ()
    found: list[tuple[str, int, int]] = []
    todo: list[tuple[ast.AST, str]] = [(tree, "")]
    while todo:
        node, prefix = todo.pop()
        name = _name_of(node)
        if name is not None:
            inside = ".<locals>." if not isinstance(node, ast.ClassDef) else "."
            found.append((prefix + name, node.lineno, node.end_lineno or node.lineno))  # type: ignore[attr-defined]
            prefix = prefix + name + inside
        todo.extend((child, prefix) for child in ast.iter_child_nodes(node))
    return tuple(found)


def _name_of(node: ast.AST) -> str | None:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name
    if isinstance(node, ast.Lambda):
        return "<lambda>"
    return "<genexpr>" if isinstance(node, ast.GeneratorExp) else None
