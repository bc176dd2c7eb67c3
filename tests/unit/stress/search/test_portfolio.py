"""The whole search: what it finds, what it says of builds, and that it never passes falsely."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from lmi_runtime.stress.model import Granularity
from lmi_runtime.stress.program import Chooser, Complaint, Execution, RunOptions
from lmi_runtime.stress.search import (
    ExampleStore,
    Progress,
    Replay,
    Scripted,
    SearchSettings,
    decode,
    search,
)
from lmi_runtime.stress.search.minimise import cost
from lmi_runtime.stress.search.replay import python_version
from tests.unit.stress.budgets import AMPLE_S
from tests.unit.stress.search.toy import Body, Engine, State, Toy
from tests.unit.stress.search.toy_programs import (
    FREE,
    free_only,
    increments,
    steps,
    two_preemptions,
)

SMALL = SearchSettings(budget_s=AMPLE_S, max_schedules=300)


# ---------------------------------------------------------------------- builds


def test_what_builds_with_the_gil_can_do_is_a_failure() -> None:
    result = search(increments("call "), Engine(), SMALL)
    (finding,) = result.findings
    assert finding.granularity is Granularity.GIL
    assert finding.builds == ("gil", "free-threaded")
    assert (finding.warning, finding.minimal, finding.preemptions) == (False, True, 1)
    assert result.coverage.stopped_by == "failure"


def test_what_only_free_threaded_builds_can_do_is_a_warning() -> None:
    result = search(increments(), Engine(), SMALL)
    (finding,) = result.findings
    assert finding.builds == ("free-threaded",)
    assert (finding.warning, finding.minimal, finding.preemptions) == (True, True, 1)
    assert result.coverage.bounds[Granularity.GIL] >= 2
    assert result.notes == ()


def test_without_the_gil_in_the_search_it_is_no_warning() -> None:
    result = search(increments(), Engine(), replace(SMALL, granularities=FREE))
    assert not result.findings[0].warning
    assert "was not asked" in result.notes[0]


def mixed() -> Toy:
    """Lost with one preemption on free-threaded builds, with two where the GIL is."""
    deep, shallow = two_preemptions(prefix="call "), increments()

    def join(number: int) -> Any:
        def body(state: State) -> Body:
            yield from deep.bodies[number](state)
            yield from shallow.bodies[number](state)

        return body

    start = {**deep.start, **shallow.start}
    return Toy(
        [join(0), join(1)], lambda state: deep.wrong(state) or shallow.wrong(state), start=start
    )


def test_a_warning_does_not_end_the_search_for_a_failure() -> None:
    failure, warning = search(mixed(), Engine(), replace(SMALL, max_schedules=2000)).findings
    assert (failure.object_path, failure.warning, failure.preemptions) == ("torn", False, 2)
    assert (warning.object_path, warning.warning, warning.preemptions) == ("lost update", True, 1)
    (only,) = search(mixed(), Engine(), replace(SMALL, stop_at="any")).findings
    assert only.warning


def test_every_failure_is_reported_if_all_are_wanted() -> None:
    result = search(mixed(), Engine(), replace(SMALL, stop_at="never", granularities=FREE))
    assert {each.object_path for each in result.findings} == {"torn", "lost update"}
    assert result.coverage.stopped_by == "exhausted"


# ---------------------------------------------------------------------- chance, then proof


@pytest.mark.parametrize("seed", range(2))
def test_a_find_of_chance_is_made_minimal(seed: int) -> None:
    """Too many schedules to begin with the second bound: chance has its turn before."""
    settings = replace(free_only(max_schedules=3000), seed=seed)
    result = search(two_preemptions(padding=30), Engine(), settings)
    (found,) = result.found
    assert found.finding.preemptions == 2
    assert found.finding.minimal
    assert found.after < 600


def test_minimal_is_not_said_when_it_was_not_proven() -> None:
    """One run is enough to see it fail again, not to see that it needs its preemption."""
    (known,) = search(increments(), Engine(), free_only()).findings
    settings = replace(free_only(max_schedules=1), first=(decode(known.token),))
    (finding,) = search(increments(), Engine(), settings).findings
    assert (finding.preemptions, finding.minimal) == (1, False)


@pytest.mark.parametrize("seed", range(2))
def test_the_same_seed_makes_the_same_search(seed: int) -> None:
    settings = replace(free_only(max_schedules=200), seed=seed)
    engines = [Engine(), Engine()]
    results = [search(Toy([steps(15)] * 3), engine, settings) for engine in engines]
    assert engines[0].orders == engines[1].orders
    assert results[0].coverage == results[1].coverage


def test_another_seed_makes_another_search() -> None:
    engines = [Engine(), Engine()]
    for seed, engine in enumerate(engines):
        search(Toy([steps(15)] * 3), engine, replace(free_only(max_schedules=200), seed=seed))
    assert engines[0].orders != engines[1].orders


def test_the_global_random_generator_is_left_alone() -> None:
    random.seed(7)
    expected = random.getstate()
    search(Toy([steps(15)] * 3), Engine(), free_only(max_schedules=300))
    assert random.getstate() == expected


def test_all_parts_have_their_turn() -> None:
    result = search(Toy([steps(15)] * 3), Engine(), free_only(max_schedules=900))
    assert set(result.coverage.searches) == {"serial", "bounded", "hypothesis", "pct", "random"}
    assert sum(result.coverage.searches.values()) == result.coverage.schedules == 900


# ---------------------------------------------------------------------- never a false pass


class Unruly(Engine):
    """An engine under which something goes wrong."""

    def __init__(self, spoil: Any) -> None:
        super().__init__()
        self.spoil = spoil

    def __call__(self, program: Any, chooser: Chooser, options: RunOptions) -> Execution:
        execution = super().__call__(program, chooser, options)
        self.spoil(self.runs, execution)
        return execution


def test_one_run_out_of_control_is_one_bound_not_claimed() -> None:
    def spoil(number: int, execution: Execution) -> None:
        if number == 5:
            execution.uncontrolled = ("a socket was read",)

    result = search(Toy([steps(4)] * 2), Unruly(spoil), free_only(max_schedules=300))
    assert result.coverage.bound == 0
    assert result.coverage.uncontrolled == ("a socket was read",)
    assert result.coverage.stopped_by == "budget"


def test_nothing_under_control_ends_the_search() -> None:
    def spoil(number: int, execution: Execution) -> None:
        execution.uncontrolled = (f"socket {number} was read",)
        execution.complaints = (Complaint("exception", "It fell over."),)

    engine = Unruly(spoil)
    result = search(Toy([steps(4)] * 2), engine, free_only())
    assert engine.runs == 3
    assert (result.coverage.bound, result.coverage.stopped_by) == (-1, "uncontrolled")
    assert result.findings == ()
    assert "A run that was not under control failed: It fell over." in result.notes


def test_a_program_that_differs_from_run_to_run_is_no_pass() -> None:
    lengths = iter(range(1, 10_000))

    def fickle(state: State) -> Body:
        for _ in range(next(lengths) % 5):
            yield "read v"

    result = search(Toy([fickle, fickle]), Engine(), free_only())
    assert result.coverage.stopped_by == "uncontrolled"
    assert "did not lead to the same run twice" in result.coverage.uncontrolled[0]


def test_a_failure_that_does_not_come_again_is_no_finding_and_no_pass() -> None:
    def spoil(number: int, execution: Execution) -> None:
        if number == 3:
            execution.complaints = (Complaint("invariant", "Once."),)

    result = search(Toy([steps(2)] * 2), Unruly(spoil), free_only())
    assert result.findings == ()
    assert "did not fail again" in result.coverage.uncontrolled[0]


def test_time_is_a_budget_too() -> None:
    now = iter(range(1_000_000))
    settings = replace(free_only(), budget_s=200, clock=lambda: float(next(now)))
    engine = Engine()
    result = search(Toy([steps(15)] * 3), engine, settings)
    assert 20 < engine.runs < 200
    assert result.coverage.stopped_by == "budget"
    assert result.coverage.bound < 2


def test_progress_is_told_after_every_run() -> None:
    told: list[Progress] = []
    result = search(Toy([steps(2)] * 2), Engine(), replace(free_only(), progress=told.append))
    assert [each.schedules for each in told] == list(range(1, result.coverage.schedules + 1))
    assert told[0].search == "serial"


def test_serial_orders_come_first_for_judges_that_compare() -> None:
    serials: list[bool] = []

    class Comparing(Toy):
        def judge(self, state: Any, ended: Any, *, serial: bool) -> Any:
            serials.append(serial)
            return []

    settings = replace(free_only(), serial_orders=10)
    engine = Engine()
    search(Comparing([steps(1)] * 3), engine, settings)
    orders = [each.serial for each in engine.options if each.serial is not None]
    assert len(set(engine.orders[:6])) == len(orders) == 6
    assert serials[:6] == [True] * 6
    assert not any(serials[6:])


# ---------------------------------------------------------------------- tokens and the store


def test_a_token_replays_the_finding() -> None:
    (finding,) = search(increments(), Engine(), free_only()).findings
    replay = decode(finding.token)
    assert (replay.subject, replay.granularity) == ("increments", finding.granularity)
    execution = Engine()(
        increments(), Scripted(replay.schedule), RunOptions(granularity=replay.granularity)
    )
    assert execution.complaints[0].oracle == finding.oracle


def test_what_failed_before_is_tried_first(tmp_path: Path) -> None:
    settings = replace(free_only(max_schedules=3000), examples=tmp_path)
    first = search(two_preemptions(padding=10), Engine(), settings).found[0]
    again = search(two_preemptions(padding=10), Engine(), settings).found[0]
    assert (again.search, again.after) == ("replay", 1)
    assert again.finding.schedule == first.finding.schedule
    assert again.finding.minimal


def test_what_was_mended_is_forgotten(tmp_path: Path) -> None:
    settings = replace(free_only(), examples=tmp_path)
    search(increments(), Engine(), settings)
    assert len(ExampleStore(tmp_path).load("increments")) == 1
    mended = replace(increments(), wrong=lambda _: None)
    assert search(mended, Engine(), settings).findings == ()
    assert ExampleStore(tmp_path).load("increments") == ()


def test_a_known_schedule_may_be_handed_in() -> None:
    (finding,) = search(increments(), Engine(), free_only()).findings
    settings = replace(free_only(), first=(decode(finding.token),))
    assert search(increments(), Engine(), settings).found[0].after == 1


@pytest.mark.parametrize(("stop_at", "wanted"), [("failure", ["one"]), ("never", ["one", "two"])])
def test_one_failure_is_the_smallest_of_all_kinds(
    stop_at: Literal["failure", "never"], wanted: list[str]
) -> None:
    """A schedule with two deviations is known to fail, and another kind of failure takes one."""

    def body(name: str) -> Callable[[State], Body]:
        def go(state: State) -> Body:
            for _ in range(3):
                yield "write x"
                state["order"] = state.get("order", "") + name

        return go

    orders: list[str] = []
    kinds: dict[str, str] = {}

    def wrong(state: State) -> str | None:
        orders.append(state["order"])
        return kinds.get(state["order"])

    toy = Toy([body("a"), body("b")], wrong, is_loop=True)
    engine = Engine()
    search(toy, engine, SearchSettings(budget_s=AMPLE_S))  # nothing is wrong yet
    known = {
        cost(each): (order, each) for order, each in zip(orders, engine.schedules, strict=True)
    }
    kinds.update({known[2][0]: "two", known[1][0]: "one"})
    two = known[2][1]
    first = Replay("toy", Granularity.GIL, two, (None,) * len(two), python=python_version())

    settings = SearchSettings(budget_s=AMPLE_S, first=(first,), stop_at=stop_at)
    found = search(toy, Engine(), settings).found

    assert sorted(each.complaint.object_path for each in found) == wanted
    assert all(each.finding.minimal for each in found)
