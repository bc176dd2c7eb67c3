"""Choosers: what they answer, and that a seed decides all of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lmi_runtime.stress.model import Deviation, Granularity
from lmi_runtime.stress.program import Chooser, RunOptions
from lmi_runtime.stress.search import Pct, RandomWalk, Scripted
from lmi_runtime.stress.search.minimise import cost
from tests.unit.stress.search.toy import Engine, Toy
from tests.unit.stress.search.toy_programs import steps

OPTIONS = RunOptions(granularity=Granularity.FREE_THREADED)


def test_scripted_leaves_the_default_only_where_it_says() -> None:
    chooser = Scripted((Deviation("preempt", 0, 2, 1), Deviation("forced", 1, 0, 3)))
    assert chooser.choose("preempt", 0, 2, (0, 1, 2), 7) == 1
    assert chooser.choose("preempt", 0, 1, (0, 1, 2), 7) == 0
    assert chooser.choose("forced", 1, 0, (2, 3), -1) == 3
    assert chooser.choose("task", 1, 0, (2, 3), -1) == 2
    assert chooser.preempts == {(0, 2): 1}
    assert chooser.others == {("forced", 1, 0): 3}


def test_scripted_ignores_who_cannot_go_on() -> None:
    assert Scripted((Deviation("preempt", 0, 2, 9),)).choose("preempt", 0, 2, (0, 1), 7) == 0


@pytest.mark.parametrize(
    "make", [lambda seed: Pct(seed, 3, 20), lambda seed: RandomWalk(seed, 0.3)]
)
def test_the_same_seed_makes_the_same_run_and_another_seed_another(
    make: Callable[[int], Chooser],
) -> None:
    engine = Engine()
    for seed in (*range(8), *range(8)):
        engine(Toy([steps(8)] * 3), make(seed), OPTIONS)
    assert engine.orders[:8] == engine.orders[8:]
    assert len(set(engine.orders)) > 4


def test_priorities_are_kept_except_at_few_moments() -> None:
    engine = Engine()
    for seed in range(50):
        engine(Toy([steps(30)] * 2), Pct(seed, 4, 60), OPTIONS)
    assert max(cost(each) for each in engine.schedules) <= 4
    assert len(set(engine.orders)) > 20


def test_what_a_chooser_took_replays_without_it() -> None:
    engine = Engine()
    taken = engine(Toy([steps(8)] * 3), RandomWalk(1, 0.5), OPTIONS).taken
    assert engine(Toy([steps(8)] * 3), Scripted(taken), OPTIONS).taken == taken
    assert engine.orders[0] == engine.orders[1]


def test_cancellations_are_rare_and_only_ever_an_option() -> None:
    chooser = Pct(1, 2, 10)
    answers = [chooser.choose("cancel", 0, visit, (0, 1), -1) for visit in range(200)]
    assert set(answers) == {0, 1}
    assert answers.count(1) < 40
