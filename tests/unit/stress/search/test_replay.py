"""A token made under one Python version finds its place under another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lmi_runtime.stress.model import Deviation, Granularity, Place
from lmi_runtime.stress.program import Chooser, Complaint, Decision, Execution, RunOptions
from lmi_runtime.stress.search import Replay, Replayer, make_replay, reproduce, search
from lmi_runtime.stress.search.tokens import Key
from tests.unit.stress.search.toy import Engine, Toy
from tests.unit.stress.search.toy_programs import FREE, free_only, increments, two_preemptions


def again(program: Toy, replay: Replay) -> Execution:
    engine = Engine()

    def run(chooser: Chooser, record: bool) -> Execution:
        return engine(program, chooser, RunOptions(granularity=replay.granularity, record=record))

    return reproduce(replay, run)


def made_elsewhere(program: Toy) -> Replay:
    """A token whose visits mean nothing here, as if other bytecode had counted them."""
    found = search(program, Engine(), free_only(max_schedules=3000)).found[0]
    replay = make_replay(program.name, FREE[0], found.execution)
    shifted = tuple(
        replace(each, visit=each.visit + 3) if each.kind == "preempt" else each
        for each in replay.schedule
    )
    return replace(replay, schedule=shifted, python="3.99")


def test_on_the_same_version_the_schedule_is_followed_as_it_is() -> None:
    found = search(increments(), Engine(), free_only()).found[0]
    replay = make_replay("increments", FREE[0], found.execution)
    engine = Engine()

    def run(chooser: Chooser, record: bool) -> Execution:
        return engine(increments(), chooser, RunOptions(granularity=FREE[0], record=record))

    assert reproduce(replay, run).taken == found.finding.schedule
    assert engine.runs == 1


@pytest.mark.parametrize("program", [increments(), two_preemptions(padding=4)])
def test_on_another_version_the_keys_lead_the_way(program: Toy) -> None:
    replay = made_elsewhere(program)
    execution = again(program, replay)
    assert execution.complaints
    assert len(execution.taken) == len(replay.schedule)


def test_labels_may_differ_if_the_line_is_the_same() -> None:
    replay = made_elsewhere(increments())
    renamed = tuple(key and replace(key, label="was called otherwise") for key in replay.keys)
    assert again(increments(), replace(replay, keys=renamed)).complaints


def test_code_that_is_gone_is_not_found() -> None:
    replay = made_elsewhere(increments())
    gone = tuple(key and replace(key, function="was.deleted") for key in replay.keys)
    execution = again(increments(), replace(replay, keys=gone))
    assert not execution.complaints


def decide(site: int, visit: int) -> Decision:
    return Decision("preempt", 0, visit, (0, 1), 0, site)


def key_at(place: Place) -> Key | None:
    decisions = [decide(1, 0)._replace(chosen=1)]
    taken = (Deviation("preempt", 0, 0, 1),)
    execution = Execution(decisions=decisions, taken=taken, places={1: place})
    return make_replay("x", Granularity.GIL, execution).keys[0]


SOURCE = """\
import x

class Shop:
    @x.wrap
    def sell(self):
        def inner():
            return [y for y in x]
        return lambda: (
            inner())
"""


@pytest.mark.parametrize(
    ("function", "line", "expected"),
    [
        ("Shop.sell", 8, ("Shop.sell", 3)),
        ("Shop.sell.<locals>.inner", 7, ("Shop.sell.<locals>.inner", 1)),
        ("Shop.sell.<locals>.inner.<locals>.<listcomp>", 7, ("Shop.sell.<locals>.inner", 1)),
        ("Shop.sell.<locals>.<lambda>", 9, ("Shop.sell.<locals>.<lambda>", 1)),
        ("<module>", 1, ("<module>", 1)),
        ("not.there", 4, ("not.there", 4)),
    ],
)
def test_lines_count_from_the_def_and_comprehensions_belong_to_their_function(
    tmp_path: Path, function: str, line: int, expected: tuple[str, int]
) -> None:
    file = tmp_path / "shop.py"
    file.write_text(SOURCE)
    key = key_at(Place(str(file), line, function, label="call"))
    assert key is not None
    assert (key.function, key.line) == expected


def test_visits_are_counted_for_each_operation_and_for_each_line() -> None:
    places = {1: Place("f", 1, "f", label="load"), 2: Place("f", 1, "f", label="store")}
    decisions = [decide(site, visit) for visit, site in enumerate((1, 2, 1, 2))]
    decisions[3] = decisions[3]._replace(chosen=1)
    taken = (Deviation("preempt", 0, 3, 1),)
    execution = Execution(decisions=decisions, taken=taken, places=places)
    replay = make_replay("x", Granularity.GIL, execution)
    assert replay.keys == (Key("f", 1, "store", 1, 3),)


def test_a_deviation_without_a_place_is_found_by_its_visit() -> None:
    replay = Replay("x", Granularity.GIL, (Deviation("forced", 2, 5, 1),), (None,))
    chooser = Replayer(replay, {})
    assert chooser.choose("forced", 2, 4, (0, 1), -1) == 0
    assert chooser.missed == {0}
    assert chooser.choose("forced", 2, 5, (0, 1), -1) == 1
    assert chooser.missed == set()


def test_of_two_places_that_fit_the_one_that_fails_was_meant() -> None:
    """Here all three operations of the line have one label; the maker's first had its own."""
    places = {site: Place("app.py", 2, "handler", site, "after call") for site in (7, 8)}
    key = Key("handler", 2, "after call", nth=1, nth_on_line=2)
    replay = Replay("", FREE[0], (Deviation("preempt", 0, 9, 1),), (key,), python="3.99")

    def run(chooser: Chooser, record: bool) -> Execution:
        decisions = [
            Decision("preempt", 0, at, (0, 1), chooser.choose("preempt", 0, at, (0, 1), site), site)
            for at, site in enumerate((7, 8, 8))
        ]
        taken = tuple(
            Deviation("preempt", 0, each.visit, 1) for each in decisions if each.chosen == 1
        )
        wrong = (Complaint("invariant", "Wrong."),) if [each.visit for each in taken] == [2] else ()
        return Execution(wrong, decisions, taken, places=places)

    assert reproduce(replay, run).complaints
