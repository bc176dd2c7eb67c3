"""A run is right if some order, one invocation after the other, gives the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lmi_runtime.stress.oracles.hints import hint
from lmi_runtime.stress.program import Complaint, Ended
from lmi_runtime.stress.tracebacks import traceback_of
from lmi_runtime.stress.world import (
    ABSENT,
    Difference,
    Node,
    Tree,
    blank,
    canonical,
    differences,
    render,
    unordered,
)

__all__ = ["Observation", "SerialReferences", "compare", "observe"]

Steps: TypeAlias = tuple[str, ...]

_RESULT = "result of "
_MOST_ORDERS = 3


@dataclass(frozen=True, slots=True)
class Observation:
    """
    What can be seen of one run when it is over.

    Attributes:
        trees: Results, as ``result of invocation 1``, and state, as ``app.COUNTS``.
        tracebacks: Of the participants that raised.
        complete: All participants ended; the others are judged by somebody else.
    """

    trees: Mapping[str, Tree]
    tracebacks: Mapping[str, str] = field(default_factory=dict)
    complete: bool = True


def observe(
    ended: Sequence[Ended],
    state: Mapping[str, Tree],
    *,
    names: Sequence[str] = (),
    normalise: Callable[[str], str] | None = None,
    opened: Callable[[type], bool] = lambda _cls: False,
) -> Observation:
    """
    Take results and state together, before the next run changes them.

    Args:
        ended: One a participant, in their order.
        state: The final state, from `fingerprint` with the same `normalise`.
        names: Of the participants; ``invocation 1`` and so on by default.
        normalise: Applied to every string of a result: replaces canary tokens and made-up ids
            by what is the same in every run.
        opened: Classes whose instances are looked into in results; dataclasses always are.
    """
    trees: dict[str, Tree] = {}
    tracebacks: dict[str, str] = {}
    for index, end in enumerate(ended):
        name = _RESULT + (names[index] if names else f"invocation {index + 1}")
        if end.error is None:
            trees[name] = canonical(end.result, opened=opened, normalise=normalise)
        else:
            trees[name] = _error_tree(end.error, normalise)
            tracebacks[name] = traceback_of(end.error)
    return Observation(trees | dict(state), tracebacks, all(it.finished for it in ended))


def _error_tree(error: BaseException, normalise: Callable[[str], str] | None) -> Tree:
    try:
        text = str(error)
    except Exception as inner:
        text = f"<its text raises {type(inner).__name__}>"
    text = normalise(text) if normalise is not None else text
    name = type(error).__qualname__
    return Node("leaf", "raised", text=f"{name}: {text}" if text else name)


@dataclass(slots=True)
class SerialReferences:
    """
    What serial runs gave, and what of it is not the same even when an order is run twice.

    Thread safety: use by the one thread that explores.

    Attributes:
        observations: One for each order of the participants, such as ``(1, 0)``.
        mask: Patterns of paths that cannot be compared.
    """

    observations: dict[tuple[int, ...], Observation] = field(default_factory=dict)
    mask: frozenset[Steps] = frozenset()
    _prepared: dict[tuple[int, ...], Mapping[str, Tree]] = field(default_factory=dict)

    def add(self, order: Sequence[int], observation: Observation) -> None:
        """
        Take in a serial run. Give an order a second time to find what varies by itself.

        Args:
            order: Positions of the participants, in the order in which they ran.
            observation: What it came to.
        """
        key = tuple(order)
        known = self.observations.setdefault(key, observation)
        if known is not observation:
            self.mask |= {it.pattern for it in _all_differences(known.trees, observation.trees)}
        self._prepared.clear()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was not compared, and why."""
        return tuple(
            f"{''.join(steps)} was not compared: running the same invocations in the same "
            "order gives another value each time"
            for steps in sorted(self.mask)
        )

    def prepared(self) -> Mapping[tuple[int, ...], Mapping[str, Tree]]:
        """Each reference without what is masked and without the order of lists in the state."""
        if not self._prepared:
            for order, observation in self.observations.items():
                self._prepared[order] = _prepare(observation.trees, self.mask)
        return self._prepared


def compare(run: Observation, references: SerialReferences) -> Complaint | None:
    """
    Whether a run came to what some serial order comes to.

    The order of lists in the state does not count: two invocations that each append twice
    need not do so in one go. In results it does.

    Returns:
        None if it did, or if there is nothing to compare with; else what differs, in a sentence
        that names one path and both values.
    """
    if not run.complete or not references.observations:
        return None
    if any(run.trees == it.trees for it in references.observations.values()):
        return None
    mine = _prepare(run.trees, references.mask)
    prepared = references.prepared()
    if any(mine == it for it in prepared.values()):
        return None
    return _complain(mine, prepared, run.tracebacks)


def _prepare(trees: Mapping[str, Tree], mask: frozenset[Steps]) -> Mapping[str, Tree]:
    return {
        name: it if name.startswith(_RESULT) else unordered(it)
        for name, it in ((name, blank(tree, mask, (name,))) for name, tree in trees.items())
    }


def _all_differences(left: Mapping[str, Tree], right: Mapping[str, Tree]) -> list[Difference]:
    return [
        difference
        for name in dict.fromkeys((*left, *right))
        for difference in differences(left.get(name, ABSENT), right.get(name, ABSENT), (name,))
    ]


def _complain(
    mine: Mapping[str, Tree],
    prepared: Mapping[tuple[int, ...], Mapping[str, Tree]],
    tracebacks: Mapping[str, str],
) -> Complaint:
    found = {order: _all_differences(mine, it) for order, it in prepared.items()}
    by_path = [{it.path: it for it in each} for each in found.values()]
    everywhere = [path for path in by_path[0] if all(path in each for each in by_path)]
    if not everywhere:
        return _complain_of_order(found)
    # An exception tells most; a result is what the caller sees; state is the cause of it all.
    path = min(everywhere, key=lambda path: (path not in tracebacks, not _is_result(path)))
    here = [each[path] for each in by_path]
    return _say(here[0].steps, here[0].left, _values(it.right for it in here), tracebacks)


def _say(
    steps: Steps, got: Tree, wanted: Sequence[str], tracebacks: Mapping[str, str]
) -> Complaint:
    path, name = "".join(steps), steps[0]
    orders = "in every serial order" if len(wanted) == 1 else "in serial orders"
    if name in tracebacks and path == name:
        who = name.removeprefix(_RESULT)
        sentence = f"{who} raised {render(got, 200)}; {orders} its result is {_either(wanted)}"
        return Complaint("exception", sentence, hint("exception"), "", tracebacks[name])
    sentence = f"{path} is {render(got)}, {orders} {_either(wanted)}"
    if _is_result(name):
        return Complaint("serial", sentence, hint("serial.result"))
    return Complaint("serial", sentence, hint("serial.state"), name)


def _complain_of_order(found: Mapping[tuple[int, ...], list[Difference]]) -> Complaint:
    """Every value is that of some order, but not all of the same."""
    parts = []
    for order, each in list(found.items())[:_MOST_ORDERS]:
        first = each[0]
        names = ", ".join(str(position + 1) for position in order)
        parts.append(
            f"{first.path} is {render(first.left)} and not {render(first.right)} as in the "
            f"order {names}"
        )
    state = [it.steps[0] for each in found.values() for it in each if not _is_result(it.steps[0])]
    sentence = f"no serial order gives all of this together: {'; '.join(parts)}"
    return Complaint("serial", sentence, hint("serial.order"), state[0] if state else "")


def _is_result(path: str) -> bool:
    return path.startswith(_RESULT)


def _values(trees: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(map(render, trees)))


def _either(values: Sequence[str]) -> str:
    return " or ".join(
        [*values[:_MOST_ORDERS], *(["others"] if len(values) > _MOST_ORDERS else [])]
    )
