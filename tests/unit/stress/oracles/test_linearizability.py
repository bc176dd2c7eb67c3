"""Histories that one-at-a-time objects could have had are accepted, all others are not."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmi_runtime.stress.oracles.linearizability import (
    History,
    Model,
    Operation,
    linearizable,
    model_of,
    recorded,
)


class Register:
    def __init__(self) -> None:
        self.value = 0

    def write(self, value: int) -> None:
        self.value = value

    def read(self) -> int:
        return self.value


class Fifo:
    def __init__(self) -> None:
        self.items: deque[Any] = deque()

    def put(self, item: Any) -> None:
        self.items.append(item)

    def get(self) -> Any:
        return self.items.popleft()


class Bag:
    def __init__(self) -> None:
        self.items: set[Any] = set()

    def add(self, item: Any) -> bool:
        new = item not in self.items
        self.items.add(item)
        return new

    def has(self, item: Any) -> bool:
        return item in self.items


class Pool:
    def __init__(self) -> None:
        self.free = {"c1", "c2"}

    def lease(self, wanted: str) -> str:
        self.free.remove(wanted)
        return wanted

    def give_back(self, connection: str) -> None:
        self.free.add(connection)


def op(
    actor: int,
    name: str,
    *args: Any,
    at: tuple[int, int | None],
    gives: Any = None,
    raises: BaseException | None = None,
) -> Operation:
    return Operation(actor, name, args, at[0], at[1], gives, raises)


@pytest.mark.parametrize(
    ("model", "history", "expected"),
    [
        pytest.param(
            Register,
            [op(0, "write", 1, at=(0, 5)), op(1, "read", at=(1, 2), gives=1)],
            True,
            id="register-read-beside-write",
        ),
        pytest.param(
            Register,
            [op(0, "write", 1, at=(0, 1)), op(1, "read", at=(2, 3), gives=0)],
            False,
            id="register-stale-read",
        ),
        pytest.param(
            Register,
            [
                op(0, "write", 1, at=(0, 9)),
                op(1, "read", at=(1, 2), gives=1),
                op(2, "read", at=(3, 4), gives=0),
            ],
            False,
            id="register-new-then-old",
        ),
        pytest.param(
            Register,
            [op(0, "write", 1, at=(0, None)), op(1, "read", at=(1, 2), gives=1)],
            True,
            id="register-write-never-returned-but-worked",
        ),
        pytest.param(
            Register,
            [op(0, "write", 1, at=(0, None)), op(1, "read", at=(1, 2), gives=0)],
            True,
            id="register-write-never-returned-and-did-not-work",
        ),
        pytest.param(
            Fifo,
            [
                op(0, "put", "a", at=(0, 1)),
                op(0, "put", "b", at=(2, 3)),
                op(1, "get", at=(4, 5), gives="b"),
            ],
            False,
            id="queue-out-of-order",
        ),
        pytest.param(
            Fifo,
            [
                op(0, "put", "a", at=(0, 3)),
                op(1, "put", "b", at=(1, 2)),
                op(1, "get", at=(4, 5), gives="b"),
            ],
            True,
            id="queue-puts-beside-each-other",
        ),
        pytest.param(
            Fifo,
            [op(0, "get", at=(0, 1), raises=IndexError())],
            True,
            id="queue-empty",
        ),
        pytest.param(
            Bag,
            [op(0, "add", 1, at=(0, 3), gives=True), op(1, "add", 1, at=(1, 2), gives=True)],
            False,
            id="set-both-were-first",
        ),
        pytest.param(
            Pool,
            [
                op(0, "lease", "c1", at=(0, 3), gives="c1"),
                op(1, "lease", "c1", at=(1, 2), gives="c1"),
            ],
            False,
            id="pool-one-connection-twice",
        ),
        pytest.param(
            Pool,
            [
                op(0, "lease", "c1", at=(0, 1), gives="c1"),
                op(0, "give_back", "c1", at=(2, 5)),
                op(1, "lease", "c1", at=(3, 4), gives="c1"),
            ],
            True,
            id="pool-lease-beside-giving-back",
        ),
    ],
)
def test_verdicts(model: Callable[[], Any], history: list[Operation], expected: bool) -> None:
    assert linearizable(history, model_of(model)).ok is expected


def test_the_sentence_names_the_call_that_fits_nowhere() -> None:
    history = [
        op(0, "put", "a", at=(0, 1)),
        op(1, "get", at=(2, 5), gives="a"),
        op(2, "get", at=(3, 6), gives="a"),
        op(0, "put", "z", at=(8, 9)),
    ]

    answer = linearizable(history, model_of(Fifo))

    assert answer.sentence == (
        "no order of the calls explains get() returning 'a' after put('a') returning None "
        "beside get() returning 'a'"
    )
    assert history[3].called not in {it.called for it in answer.failing}
    complaint = answer.complaint("app.QUEUE")
    assert complaint is not None
    assert complaint.key == ("linearizability", "app.QUEUE")


def test_keys_are_checked_apart() -> None:
    """A cache: what happens to one key says nothing about another."""

    def step(state: Any, operation: Operation) -> tuple[Any, Any]:
        if operation.name == "put":
            return operation.args[1], ("returned", None)
        return state, ("returned", state)

    model = Model(None, step, key=lambda operation: operation.args[0])
    right = [op(0, "put", "a", 1, at=(0, 1)), op(0, "get", "b", at=(2, 3), gives=None)]
    wrong = [op(0, "put", "a", 1, at=(0, 1)), op(0, "get", "a", at=(2, 3), gives=None)]

    assert linearizable(right, model).ok
    assert not linearizable(wrong, model).ok


def simulated(seed: int, length: int, actors: int) -> list[Operation]:
    """A history of a real queue: calls overlap, and each works at a moment between."""
    draw, moment, fifo = random.Random(seed), itertools.count(), Fifo()
    open_calls: dict[int, Operation] = {}
    done: set[int] = set()
    history: list[Operation] = []
    while len(history) < length or open_calls:
        actor = draw.randrange(actors)
        if actor not in open_calls:
            if len(history) >= length:
                continue
            name = draw.choice(["put", "get"])
            args = (len(history),) if name == "put" else ()
            open_calls[actor] = Operation(actor, name, args, next(moment))
            history.append(open_calls[actor])
        elif actor not in done:
            operation = open_calls[actor]
            try:
                operation.result = getattr(fifo, operation.name)(*operation.args)
            except IndexError as error:
                operation.error = error
            done.add(actor)
        else:
            open_calls.pop(actor).returned = next(moment)
            done.discard(actor)
    return history


def queue_model() -> Model:
    def step(state: tuple[Any, ...], operation: Operation) -> tuple[Any, Any]:
        if operation.name == "put":
            return (*state, operation.args[0]), ("returned", None)
        if not state:
            return state, ("raised", IndexError)
        return state[1:], ("returned", state[0])

    return Model((), step)


@given(st.integers(0, 2**32), st.integers(1, 5))
def test_what_happened_is_accepted(seed: int, actors: int) -> None:
    answer = linearizable(simulated(seed, 40, actors), queue_model(), max_steps=20_000)

    # Puts all return the same, so that a few histories have too many orders to be tried.
    assert answer.ok or answer.given_up
    assert len(answer.order) == (40 if answer.ok else 0)


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_an_item_that_comes_twice_is_not(seed: int) -> None:
    history = simulated(seed, 24, 3)
    got = [it for it in history if it.name == "get" and it.error is None]
    if len(got) < 2:
        return
    got[-1].result = got[0].result

    answer = linearizable(history, queue_model())
    assert not answer.ok and not answer.given_up


def brute_force(history: list[Operation]) -> bool:
    return any(in_real_time(order) and fits(order) for order in itertools.permutations(history))


def in_real_time(order: tuple[Operation, ...]) -> bool:
    return not any(
        later.returned is not None and later.returned < earlier.called
        for earlier, later in itertools.combinations(order, 2)
    )


def fits(order: tuple[Operation, ...]) -> bool:
    value = 0
    for operation in order:
        if operation.name == "write":
            value = operation.args[0]
        elif operation.result != value:
            return False
    return True


@st.composite
def register_histories(draw: st.DrawFn) -> list[Operation]:
    history = []
    for actor in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, 6)) * 10 + actor
        end = start + draw(st.integers(1, 30)) * 10 + 5
        if draw(st.booleans()):
            history.append(op(actor, "write", draw(st.integers(1, 2)), at=(start, end)))
        else:
            history.append(op(actor, "read", at=(start, end), gives=draw(st.integers(0, 2))))
    return history


@given(register_histories())
def test_agrees_with_trying_every_order(history: list[Operation]) -> None:
    assert linearizable(history, model_of(Register)).ok is brute_force(history)


def test_a_hundred_calls_of_four_actors_are_mostly_explained_soon() -> None:
    """A queue whose puts all return the same is the hardest there is."""
    answers = [
        linearizable(simulated(seed, 100, 4), queue_model(), max_steps=20_000) for seed in range(20)
    ]

    assert all(it.ok or it.given_up for it in answers)
    assert sum(it.ok for it in answers) >= 15


def test_what_failed_once_is_not_tried_again() -> None:
    """Ten calls at once have 3,628,800 orders but only 1,024 sets that may come first."""
    beside = [op(actor, "write", 1, at=(actor, 100 + actor)) for actor in range(10)]
    history = [*beside, op(11, "read", at=(200, 201), gives=2)]

    answer = linearizable(history, model_of(Register))

    assert not answer.ok and not answer.given_up
    assert answer.steps < 30_000


def test_giving_up_is_no_verdict() -> None:
    answer = linearizable(simulated(1, 40, 4), queue_model(), max_steps=3)

    assert (answer.ok, answer.given_up, answer.complaint("x")) == (False, True, None)


def test_calls_are_recorded_with_their_outcome() -> None:
    history = History(who=lambda: 3)
    fifo = recorded(Fifo(), history)
    fifo.put(item="a")
    assert fifo.get() == "a"
    with pytest.raises(IndexError):
        fifo.get()

    assert [str(it) for it in history.operations] == [
        "put(item='a') returning None",
        "get() returning 'a'",
        "get() raising IndexError",
    ]
    assert {it.actor for it in history.operations} == {3}
    assert linearizable(history.operations, model_of(Fifo)).ok


def test_only_wanted_methods_are_recorded() -> None:
    history = History()
    register = recorded(Register(), history, only=["read"])
    register.write(1)
    register.read()

    assert [it.name for it in history.operations] == ["read"]
    assert register.value == 1


def test_a_coroutine_method_has_returned_when_it_was_awaited() -> None:
    class Later:
        async def get(self) -> int:
            await asyncio.sleep(0)
            return 1

    async def main() -> None:
        coming = recorded(Later(), history).get()
        assert history.operations[0].returned is None
        assert await coming == 1

    history = History()
    asyncio.run(main())

    assert str(history.operations[0]) == "get() returning 1"
    assert history.operations[0].returned == 1
