"""Iterative context bounding: everything once, fewest preemptions first, no false claims."""

from __future__ import annotations

from collections import Counter
from itertools import count
from math import comb, factorial, inf
from typing import Any

import pytest

from lmi_runtime.stress.model import Granularity
from lmi_runtime.stress.program import Chooser, Execution, RunOptions
from lmi_runtime.stress.search import SearchSettings, search
from lmi_runtime.stress.search import frontier as frontier_module
from lmi_runtime.stress.search.minimise import cost
from tests.unit.stress.budgets import AMPLE_S
from tests.unit.stress.search.toy import Engine, Toy
from tests.unit.stress.search.toy_programs import FREE, free_only, increments, philosophers, steps


def schedules_of_two(number: int, preemptions: int) -> int:
    """
    Interleavings of two times `number` steps with so many preemptions, counted by blocks.

    A run of j blocks has j - 1 switches, of which the last is forced: who went before has ended.
    """
    blocks = preemptions + 2
    mine, yours = (blocks + 1) // 2, blocks // 2
    return 2 * comb(number - 1, mine - 1) * comb(number - 1, yours - 1)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_every_interleaving_is_run_exactly_once(number: int) -> None:
    engine = Engine()
    result = search(Toy([steps(number - 1)] * 2), engine, free_only())
    assert engine.runs == len(set(engine.orders)) == comb(2 * number, number)
    assert len(set(engine.schedules)) == engine.runs
    assert result.coverage.stopped_by == "exhausted"


@pytest.mark.parametrize("number", [2, 4, 6])
def test_each_bound_has_as_many_schedules_as_counted_by_hand(number: int) -> None:
    engine = Engine()
    search(Toy([steps(number - 1)] * 2), engine, free_only())
    counted = Counter(cost(each) for each in engine.schedules)
    assert counted == {
        preemptions: schedules_of_two(number, preemptions)
        for preemptions in range(2 * number - 1)
        if schedules_of_two(number, preemptions)
    }


def test_three_have_all_their_interleavings() -> None:
    engine = Engine()
    search(Toy([steps(1)] * 3), engine, free_only())
    assert engine.runs == len(set(engine.orders)) == factorial(6) // factorial(2) ** 3


def test_fewer_preemptions_always_come_first() -> None:
    engine = Engine()
    search(Toy([steps(3)] * 2), engine, free_only())
    costs = [cost(each) for each in engine.schedules]
    assert costs == sorted(costs)


def test_forced_choices_are_free_and_complete() -> None:
    """Four that never overlap have 4! orders without any preemption."""
    engine = Engine()
    result = search(Toy([steps(0)] * 4), engine, free_only())
    assert engine.runs == 24
    assert {cost(each) for each in engine.schedules} == {0}
    assert result.coverage.bound == 2


def test_an_event_loop_has_every_order_of_its_tasks() -> None:
    engine = Engine()
    result = search(
        Toy([steps(1)] * 3, is_loop=True),
        engine,
        SearchSettings(budget_s=AMPLE_S, max_schedules=10_000),
    )
    in_order = engine.runs - result.coverage.searches["burst"]
    assert in_order < len(set(engine.orders)) == 90
    assert result.coverage.stopped_by == "exhausted"


def test_without_threads_one_granularity_stands_for_both() -> None:
    engine = Engine()
    result = search(Toy([steps(1)] * 2, is_loop=True), engine, SearchSettings(budget_s=AMPLE_S))
    assert {each.granularity for each in engine.options} == {Granularity.GIL}
    assert result.coverage.bounds[Granularity.GIL] >= 2
    assert result.coverage.bounds[Granularity.FREE_THREADED] >= 2


def test_granularities_part_when_a_later_run_meets_a_second_thread() -> None:
    engine = Engine()

    def starts_a_thread_when_disturbed(
        program: Any, chooser: Chooser, options: RunOptions
    ) -> Execution:
        execution = engine(program, chooser, options)
        execution.threads += bool(execution.taken)
        return execution

    toy = Toy([steps(1)] * 2, is_loop=True)
    search(toy, starts_a_thread_when_disturbed, SearchSettings(budget_s=AMPLE_S))
    alone = Engine()
    search(toy, alone, SearchSettings(budget_s=AMPLE_S))

    tried = {each.granularity for each in engine.options}
    assert tried == {Granularity.GIL, Granularity.FREE_THREADED}
    assert {each.granularity for each in alone.options} == {Granularity.GIL}


def test_granularities_take_turns_bound_by_bound() -> None:
    engine = Engine()
    search(Toy([steps(2, "call read v")] * 2), engine, SearchSettings(budget_s=AMPLE_S))
    levels = [
        (cost(schedule), options.granularity)
        for schedule, options in zip(engine.schedules, engine.options, strict=True)
    ]
    gil, free = Granularity.GIL, Granularity.FREE_THREADED
    seen = list(dict.fromkeys(levels))
    assert seen[:6] == [(0, gil), (0, free), (1, gil), (1, free), (2, gil), (2, free)]


def test_a_lost_update_takes_one_preemption_and_few_runs() -> None:
    result = search(increments(), Engine(), free_only())
    (finding,) = result.findings
    assert (finding.preemptions, finding.minimal) == (1, True)
    assert result.found[0].after <= 4


def test_a_deadlock_is_found_with_one_preemption() -> None:
    (finding,) = search(philosophers(), Engine(), free_only()).findings
    assert (finding.oracle, finding.preemptions, finding.minimal) == ("deadlock", 1, True)


def test_a_bound_is_not_claimed_before_its_last_schedule() -> None:
    every = schedules_of_two(5, 0) + schedules_of_two(5, 1) + schedules_of_two(5, 2)
    program = Toy([steps(4)] * 2)
    one_short = search(program, Engine(), free_only(max_schedules=every - 1))
    assert one_short.coverage.bound == 1
    assert one_short.coverage.stopped_by == "budget"
    assert "not all schedules with 2 preemptions were tried" in one_short.notes[0]
    whole = search(program, Engine(), free_only(max_schedules=every))
    assert whole.coverage.bound == 2
    assert (whole.coverage.stopped_by, whole.notes) == ("exhausted", ())


def test_what_does_not_fit_into_memory_is_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontier_module, "_MOST_PENDING", 5)
    result = search(Toy([steps(4)] * 2), Engine(), free_only(max_schedules=100))
    assert result.coverage.bound == 0
    monkeypatch.setattr(frontier_module, "_MOST_PENDING", 10_000)
    monkeypatch.setattr(frontier_module, "_MOST_DECISIONS", 3)
    result = search(Toy([steps(4)] * 2), Engine(), free_only(max_schedules=100))
    assert result.coverage.bound == 0


def test_one_participant_has_one_schedule() -> None:
    engine = Engine()
    result = search(Toy([steps(5)]), engine, SearchSettings(budget_s=AMPLE_S, granularities=FREE))
    assert engine.runs == 1
    assert result.coverage.bound == 2


def test_what_holds_without_preemptions_holds_on_every_build() -> None:
    """Nothing can come between then, so wherever a build could switch makes no difference."""
    settings = SearchSettings(budget_s=AMPLE_S, max_schedules=2)
    result = search(Toy([steps(3, "call read v")] * 2), Engine(), settings)
    assert result.coverage.searches == {"serial": 2}
    assert result.coverage.bounds == {Granularity.GIL: 0, Granularity.FREE_THREADED: 0}


def test_without_a_limit_of_time_a_slow_machine_tries_as_much_as_a_fast_one() -> None:
    tried = []
    for second_s in (1e-6, 1e6):
        now_s = count(0.0, second_s)
        settings = SearchSettings(budget_s=inf, max_schedules=100, clock=now_s.__next__)
        engine = Engine()
        search(Toy([steps(15)] * 3), engine, settings)
        tried.append(engine.schedules)
    assert len(tried[0]) == 100
    assert tried[0] == tried[1]
