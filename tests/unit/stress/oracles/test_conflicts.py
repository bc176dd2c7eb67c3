"""Only what nothing orders is a conflict, and the one that matters comes first."""

from __future__ import annotations

from typing import Literal

import pytest

from lmi_runtime.stress.model import Access, ActorInfo, Location, Place, Step, StepKind
from lmi_runtime.stress.oracles.conflicts import conflicts, overlap

Mode = Literal["read", "write", "update"]
N = Location(1, "n", "app.STATE.n")


class Run:
    """Steps in the order in which they are said."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def touch(
        self,
        actor: int,
        mode: Mode,
        location: Location = N,
        *,
        line: int = 1,
        deviates: bool = False,
    ) -> int:
        place = Place("app.py", line, "f")
        return self._add(
            Step(
                len(self.steps),
                actor,
                "run",
                place,
                accesses=(Access(mode, location),),
                deviates=deviates,
            )
        )

    def sync(self, actor: int, kind: StepKind, subject_id: int = 0, subject: str = "") -> int:
        step = Step(len(self.steps), actor, kind, subject=subject, subject_id=subject_id)
        return self._add(step)

    def _add(self, step: Step) -> int:
        self.steps.append(step)
        return step.index

    def pairs(self, *actors: ActorInfo) -> list[tuple[int, int]]:
        return [(it.first, it.second) for it in conflicts(self.steps, actors)]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("read", "read", False),
        ("read", "write", True),
        ("write", "read", True),
        ("update", "read", True),
        ("update", "update", True),
    ],
)
def test_one_of_them_has_to_write(first: Mode, second: Mode, expected: bool) -> None:
    run = Run()
    run.touch(0, first)
    run.touch(1, second)

    assert bool(run.pairs()) is expected


def test_one_actor_is_in_order_with_itself() -> None:
    run = Run()
    run.touch(0, "write")
    run.touch(0, "write")

    assert run.pairs() == []


def test_a_lock_orders_what_it_guards() -> None:
    run = Run()
    for actor in (0, 1):
        run.sync(actor, "acquire", 7)
        run.touch(actor, "update")
        run.sync(actor, "release", 7)

    assert run.pairs() == []


def test_another_lock_orders_nothing() -> None:
    run = Run()
    for actor in (0, 1):
        run.sync(actor, "acquire", 7 + actor)
        run.touch(actor, "update")
        run.sync(actor, "release", 7 + actor)

    assert run.pairs() == [(1, 4)]


def test_what_follows_the_release_is_not_ordered() -> None:
    run = Run()
    run.sync(0, "acquire", 7)
    run.sync(0, "release", 7)
    written = run.touch(0, "write")
    run.sync(1, "acquire", 7)
    read = run.touch(1, "read")

    assert run.pairs() == [(written, read)]


def test_order_is_handed_on() -> None:
    """0 tells 1, and 1 tells 2, of whom 0 knows nothing."""
    run = Run()
    run.touch(0, "write")
    run.sync(0, "notify", 7)
    run.sync(1, "wake", 7)
    run.sync(1, "notify", 8)
    run.sync(2, "wake", 8)
    run.touch(2, "read")

    assert run.pairs() == []


@pytest.mark.parametrize("known_as", [{"subject_id": 9}, {"subject": "worker"}])
def test_threads_are_ordered_by_start_and_join(known_as: dict[str, object]) -> None:
    worker = ActorInfo(1, "worker", "thread")
    run = Run()
    run.touch(0, "write")
    run.sync(0, "spawn", **known_as)  # type: ignore[arg-type]
    run.sync(1, "start", **known_as)  # type: ignore[arg-type]
    run.touch(1, "write")
    beside = run.touch(0, "read")
    run.sync(1, "end")
    run.sync(0, "join", **known_as)  # type: ignore[arg-type]
    run.touch(0, "read")

    assert run.pairs(worker) == [(3, beside)]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (Location(1, "a", ""), Location(1, "a", ""), True),
        (Location(1, "a", ""), Location(1, "b", ""), False),
        (Location(1, "a", ""), Location(1, None, ""), True),
        (Location(1, None, ""), Location(1, None, ""), True),
        (Location(1, "a", ""), Location(2, "a", ""), False),
    ],
)
def test_an_item_overlaps_with_its_container(
    one: Location, other: Location, expected: bool
) -> None:
    run = Run()
    run.touch(0, "write", one)
    run.touch(1, "write", other)

    assert overlap(one, other) is overlap(other, one) is expected
    assert bool(run.pairs()) is expected


def test_the_item_is_named_and_not_the_container() -> None:
    run = Run()
    run.touch(0, "read", Location(1, None, "app.D"))
    run.touch(1, "write", Location(1, "'a'", "app.D['a']"))

    (found,) = conflicts(run.steps)
    assert found.location.path == "app.D['a']"


def test_the_pair_around_a_preemption_comes_first() -> None:
    other = Location(2, "m", "app.STATE.m")
    run = Run()
    run.touch(0, "write", other)
    run.touch(1, "write", other)
    stopped = run.touch(0, "read")
    between = run.touch(1, "write", deviates=True)
    run.touch(0, "write")

    assert run.pairs()[0] == (stopped, between)
    assert len(run.pairs()) == 2


def test_one_conflict_for_each_pair_of_locations() -> None:
    run = Run()
    for _ in range(5):
        run.touch(0, "update")
        run.touch(1, "update")

    assert len(run.pairs()) == 1


def test_a_late_race_is_found_after_an_early_ordered_access() -> None:
    run = Run()
    run.touch(0, "write")
    run.sync(0, "release", 7)
    for _ in range(20):
        run.touch(0, "write")
    run.sync(1, "acquire", 7)
    read = run.touch(1, "read")

    ((_, second),) = run.pairs()
    assert second == read
