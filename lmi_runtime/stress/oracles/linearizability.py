"""Is there an order of the calls, each at one moment between its start and its end, that fits?"""

from __future__ import annotations

import copy
import functools
import inspect
import random
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Final, TypeAlias

from lmi_runtime.stress.oracles.hints import hint
from lmi_runtime.stress.program import Complaint

__all__ = ["History", "Linearized", "Model", "Operation", "linearizable", "model_of", "recorded"]


@dataclass(slots=True)
class Operation:
    """
    One call of a method of a shared object.

    Attributes:
        actor: Who called.
        name: Of the method.
        args: What it was given.
        called: Moment of the call; any numbers that only grow.
        returned: Moment of the return; None while it has not: it may have worked or not.
        result: What it returned.
        error: What it raised.
        kwargs: What it was given by name.
    """

    actor: int
    name: str
    args: tuple[Any, ...]
    called: int
    returned: int | None = None
    result: Any = None
    error: BaseException | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def outcome(self) -> Any:
        """What has to be equal: the result, or the class of the exception."""
        return ("raised", type(self.error)) if self.error is not None else ("returned", self.result)

    def __str__(self) -> str:
        given = [*map(repr, self.args), *(f"{key}={it!r}" for key, it in self.kwargs.items())]
        call = f"{self.name}({', '.join(given)})"
        if self.returned is None:
            return f"{call} still under way"
        if self.error is not None:
            return f"{call} raising {type(self.error).__name__}"
        return f"{call} returning {self.result!r}"


@dataclass(frozen=True, slots=True)
class Model:
    """
    What the object would do if it were called by one at a time.

    Attributes:
        initial: State at the start; hashable states make the search much faster.
        step: From a state and an operation to the next state and what the operation has to
            come out as, in the form of `Operation.outcome`. It must not change the old state.
        key: What an operation is about; operations on different keys are checked apart. None
            if everything is one.
        seen: A state as a hashable value.
    """

    initial: Any
    step: Callable[[Any, Operation], tuple[Any, Any]]
    key: Callable[[Operation], Hashable] | None = None
    seen: Callable[[Any], Hashable] = lambda state: state


@dataclass(frozen=True, slots=True)
class Linearized:
    """
    The answer.

    Attributes:
        ok: There is such an order.
        order: It, by positions in the history, when it is ok; by key one after the other.
        steps: How many operations were tried.
        failing: The shortest beginning of the history for which there is none.
        sentence: What cannot be, in words.
        given_up: The limit was reached; `ok` means nothing then.
    """

    ok: bool
    order: tuple[int, ...] = ()
    steps: int = 0
    failing: tuple[Operation, ...] = ()
    sentence: str = ""
    given_up: bool = False

    def complaint(self, object_path: str) -> Complaint | None:
        """The same as a complaint about the object at a path."""
        if self.ok or self.given_up:
            return None
        sentence = f"{object_path}: {self.sentence}"
        return Complaint("linearizability", sentence, hint("linearizability"), object_path)


_NEVER: Final = float("inf")
_FIRST_ATTEMPT: Final = 500
"""Operations tried in the first order; twice as many in each that follows."""


class _LimitReached(Exception):
    pass


@dataclass(slots=True)
class _Budget:
    left: int
    spent: int = 0

    def spend(self) -> None:
        self.spent += 1
        self.check()

    def check(self) -> None:
        if self.spent > self.left:
            raise _LimitReached


def linearizable(
    history: Sequence[Operation], model: Model, *, max_steps: int = 1_000_000
) -> Linearized:
    """
    Look for an order of the operations that the model could have gone through.

    Wing and Gong's search with Lowe's memory of configurations.

    Args:
        history: The operations, in any order.
        model: The object, called by one at a time.
        max_steps: Operations tried until it is given up.

    Thread safety: call when nobody adds to the history any more.
    """
    history = sorted(history, key=lambda operation: operation.called)
    budget = _Budget(max_steps)
    order: list[int] = []
    try:
        for part in _parts(history, model):
            found = _order_of([history[index] for index in part], model, budget)
            if found is None:
                operations = _shortest([history[index] for index in part], model, budget)
                sentence = _explain(operations)
                return Linearized(False, (), budget.spent, operations, sentence)
            order += (part[index] for index in found)
    except _LimitReached:
        return Linearized(False, steps=budget.spent, given_up=True)
    return Linearized(True, tuple(order), budget.spent)


def _parts(history: Sequence[Operation], model: Model) -> list[list[int]]:
    if model.key is None:
        return [list(range(len(history)))]
    parts: dict[Hashable, list[int]] = {}
    for index, operation in enumerate(history):
        parts.setdefault(model.key(operation), []).append(index)
    return list(parts.values())


class _Search:
    """
    Depth first, without recursion, and begun anew in another order when it takes long.

    A wrong choice may show only much later, and then everything between is tried in vain; in
    another order the same choice is often right at once. What was shown to fail stays known.
    """

    def __init__(self, history: Sequence[Operation], model: Model, budget: _Budget) -> None:
        self._history = history
        self._model = model
        self._budget = budget
        self._everything = sum(1 << i for i, it in enumerate(history) if it.returned is not None)
        self._failed: set[tuple[int, Hashable]] = set()

    def run(self) -> list[int] | None:
        """Positions in an order that fits; None if there is none."""
        for attempt in count():
            draw = random.Random(attempt)
            ranks = [_guess(it, draw.random() if attempt else 0.0) for it in self._history]
            try:
                return self._attempt(ranks, _FIRST_ATTEMPT << attempt)
            except _LimitReached:
                self._budget.check()
        return None

    def _attempt(self, ranks: Sequence[float], steps: int) -> list[int] | None:
        state, done = self._model.initial, 0
        stack: list[tuple[int, Any, int, list[int]]] = []
        candidates = self._candidates(done, ranks)
        while done & self._everything != self._everything:
            if not candidates:
                if not stack:
                    return None
                self._failed.add((done, self._model.seen(state)))
                _, state, done, candidates = stack.pop()
                continue
            self._budget.spend()
            steps -= 1
            if steps < 0:
                raise _LimitReached
            index = candidates.pop()
            after = _try(self._history[index], state, self._model)
            now = done | 1 << index
            if after is not None and (now, self._model.seen(after[0])) not in self._failed:
                stack.append((index, state, done, candidates))
                state, done = after[0], now
                candidates = self._candidates(done, ranks)
        return [index for index, *_ in stack]

    def _candidates(self, done: int, ranks: Sequence[float]) -> list[int]:
        """What may be next: none of the others that are left ended before; the best last."""
        found = []
        first_return: float = _NEVER
        first_open = (~done & (done + 1)).bit_length() - 1
        for index in range(first_open, len(self._history)):
            operation = self._history[index]
            if operation.called > first_return:
                break
            if not done >> index & 1:
                found.append(index)
                if operation.returned is not None:
                    first_return = min(first_return, operation.returned)
        found.sort(key=ranks.__getitem__, reverse=True)
        return found


def _guess(operation: Operation, part: float) -> float:
    """The moment at which an operation may have worked, so far into its time."""
    end = operation.called + 1_000 if operation.returned is None else operation.returned
    return operation.called + part * (end - operation.called)


def _order_of(history: Sequence[Operation], model: Model, budget: _Budget) -> list[int] | None:
    return _Search(history, model, budget).run()


def _try(operation: Operation, state: Any, model: Model) -> tuple[Any] | None:
    after, outcome = model.step(state, operation)
    if operation.returned is None or outcome == operation.outcome:
        return (after,)
    return None


def _shortest(history: Sequence[Operation], model: Model, budget: _Budget) -> tuple[Operation, ...]:
    """The shortest beginning, by moments of return, that fits no order."""
    moments = sorted(it.returned for it in history if it.returned is not None)
    low, high = 0, len(moments) - 1
    while low < high:  # a beginning of one that fits does fit, too
        middle = (low + high) // 2
        if _order_of(_until(history, moments[middle]), model, budget) is None:
            high = middle
        else:
            low = middle + 1
    return tuple(_until(history, moments[low]))


def _until(history: Sequence[Operation], moment: int) -> list[Operation]:
    """What was known at a moment: what returns later has only been called."""
    return [
        operation
        if operation.returned is not None and operation.returned <= moment
        else replace(operation, returned=None, result=None, error=None)
        for operation in history
        if operation.called < moment
    ]


def _explain(operations: Sequence[Operation]) -> str:
    *_, last = sorted(operations, key=lambda it: it.returned or 0)
    others = [it for it in operations if it is not last and it.returned is not None]
    before = [it for it in others if (it.returned or 0) < last.called]
    beside = [it for it in operations if it is not last and it not in before]
    parts = [f"no order of the calls explains {last}"]
    if before:
        parts.append(f"after {_listed(before)}")
    if beside:
        parts.append(f"beside {_listed(beside)}")
    return " ".join(parts)


def _listed(operations: Sequence[Operation], most: int = 4) -> str:
    shown = [str(operation) for operation in operations[-most:]]
    more = len(operations) - len(shown)
    return "; ".join(([f"{more} more"] if more else []) + shown)


# ------------------------------------------------------------------------------ models


def model_of(
    make: Callable[[], Any],
    *,
    key: Callable[[Operation], Hashable] | None = None,
    seen: Callable[[Any], Hashable] | None = None,
) -> Model:
    """
    A model that is a plain object with the same methods, right when called by one at a time.

    Args:
        make: Makes the object; it is copied deeply before each call.
        key: See `Model`.
        seen: The object's state as a hashable value; its ``repr`` or attributes by default.
    """

    def step(state: Any, operation: Operation) -> tuple[Any, Any]:
        after = copy.deepcopy(state)
        try:
            return after, (
                "returned",
                getattr(after, operation.name)(*operation.args, **operation.kwargs),
            )
        except Exception as error:
            return after, ("raised", type(error))

    return Model(make(), step, key, seen or _state_of)


def _state_of(it: Any) -> Hashable:
    held = getattr(it, "__dict__", None)
    return repr(sorted(held.items())) if held else repr(it)


# ------------------------------------------------------------------------------ recording


@dataclass(slots=True)
class History:
    """
    Calls as they happened.

    Thread safety: `operations.append` and the counter are one step each, so that any thread
    may record.

    Attributes:
        who: Number of whoever calls now.
        operations: All calls so far.
    """

    who: Callable[[], int | None] = lambda: None
    operations: list[Operation] = field(default_factory=list)
    _clock: count[int] = field(default_factory=count)

    def record(self, name: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a method, and note what came of it; the exception of a killed run is not noted."""
        operation = Operation(self.who() or 0, name, args, next(self._clock), kwargs=kwargs)
        self.operations.append(operation)
        with self._noting(operation):
            result = method(*args, **kwargs)
            if inspect.isawaitable(result):
                return self._awaited(operation, result)
            operation.result = result
        operation.returned = next(self._clock)
        return result

    async def _awaited(self, operation: Operation, coming: Awaitable[Any]) -> Any:
        with self._noting(operation):
            operation.result = await coming
        operation.returned = next(self._clock)
        return operation.result

    @contextmanager
    def _noting(self, operation: Operation) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            operation.error = error
            operation.returned = next(self._clock)
            raise


class _Recorded:
    """Stands for an object and records calls of its public methods."""

    def __init__(self, subject: Any, history: History, names: frozenset[str] | None) -> None:
        self._subject = subject
        self._history = history
        self._names = names

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._subject, name)
        wanted = self._names is None or name in self._names
        if name.startswith("_") or not callable(value) or not wanted:
            return value
        return functools.partial(self._history.record, name, value)


Recorded: TypeAlias = Any


def recorded(subject: Any, history: History, only: Iterable[str] | None = None) -> Recorded:
    """
    A stand-in for an object that records calls of its public methods.

    Args:
        subject: The object.
        history: Where calls are noted.
        only: Names of the methods that count; all public ones by default.
    """
    return _Recorded(subject, history, None if only is None else frozenset(only))
