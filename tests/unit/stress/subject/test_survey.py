"""What runs without overlap show: marks, masks, growth, and what hangs alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lmi_runtime.stress.control import controlled, execute
from lmi_runtime.stress.model import Granularity
from lmi_runtime.stress.program import RunOptions
from lmi_runtime.stress.search import Replay, SearchSettings, decode
from lmi_runtime.stress.subject import Answer, Delivery, Stage, Subject, search_handler
from lmi_runtime.stress.subject.survey import Survey
from tests.unit.stress.budgets import AMPLE_S

_numbers = itertools.count()

Make = Callable[..., tuple[Subject, Stage]]


def _adapt(module: ModuleType, delivery: Delivery) -> Callable[[], Any]:
    return lambda: module.handler(delivery.event)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """A handler from source, and the process for it; one in a test."""
    with controlled():
        opened: list[Any] = []

        def made(source: str, **others: Any) -> tuple[Subject, Stage]:
            name = f"surveyed_{next(_numbers)}"
            (tmp_path / f"{name}.py").write_text(source)
            opened.append(Stage.set_up(name, str(tmp_path)))
            stage = opened[-1].__enter__()
            return Subject(f"{name}.handler", name, "threads", _adapt, **others), stage

        yield made
        for each in opened:
            each.__exit__(None, None, None)


def _survey(subject: Subject, stage: Stage) -> Survey:
    return Survey(subject, stage, execute, RunOptions())


_EVENT = {"id": "a1b2", "note": "free text", "kind": "free text of a kind"}


def test_events_are_marked_as_far_as_the_handler_bears_it(make: Make) -> None:
    survey = _survey(*make("def handler(event): return event\n"))
    assert survey.levels(_EVENT)[-1] == 0
    assert survey.levels(_EVENT)[0] == 1
    picky = "def handler(event):\n    if 'canary' in str(event): raise KeyError(event['id'])\n"
    assert _survey(*make(picky)).levels({"user": "bob"}) == (0,)


def test_marks_can_be_turned_off(make: Make) -> None:
    source = "def handler(event): return event\n"
    assert _survey(*make(source, mark="off")).levels(_EVENT) == (0,)
    assert _survey(*make(source, mark=lambda event, _: event)).levels(_EVENT) == (1, 0)


def test_what_differs_by_itself_is_masked_and_named(make: Make) -> None:
    source = "def handler(event): return {'at': event['runs'](), 'n': 1}\n"
    survey = _survey(*make(source))
    event = {"runs": itertools.count().__next__}  # outlives a run, as nothing of the user's does
    program = survey.program((event, event), 0)
    (note,) = [each for each in survey.notes if each.startswith("Not compared: ")]
    assert note.startswith("Not compared: results['at']; running the same invocations")
    assert len(program.known.references.observations) == 2
    assert survey.program((event, event), 0) is program


def test_what_depends_on_the_time_is_named_so(make: Make) -> None:
    survey = _survey(*make("import time\ndef handler(event): return time.monotonic()\n"))
    survey.program((1,), 0)
    assert [each for each in survey.notes if "it depends on the time" in each]


def test_a_list_that_grows_is_told_and_a_bounded_one_is_not(make: Make) -> None:
    source = (
        "from collections import deque\nSEEN, LAST = [], deque(maxlen=4)\n"
        "def handler(event):\n    SEEN.append(1); LAST.append(1)\n"
    )
    survey = _survey(*make(source))
    assert survey.begin({})
    assert [each.oracle for each in survey.standing] == ["leak"]
    assert "SEEN" in survey.standing[0].sentence
    assert "LAST" not in survey.standing[0].sentence


def test_state_at_rest_is_what_every_invocation_puts_back(make: Make) -> None:
    subject, stage = make("BUSY, COUNT = set(), [0]\ndef handler(event): COUNT[0] += 1\n")
    survey = _survey(subject, stage)
    survey.begin({})
    assert f"{subject.module}.BUSY" in survey.rest
    assert f"{subject.module}.COUNT" not in survey.rest


def test_a_handler_that_fails_alone_is_not_explored(make: Make) -> None:
    survey = _survey(*make("def handler(event): return event['missing']\n"))
    assert not survey.begin({})
    (sentence,) = survey.uncontrolled
    assert "fails even alone" in sentence
    assert "KeyError" in sentence


def test_what_hangs_alone_is_run_once(make: Make) -> None:
    source = (
        "import threading\nL = threading.Lock()\ndef handler(event): L.acquire(); L.acquire()\n"
    )
    survey = _survey(*make(source))
    assert survey.begin(_EVENT)
    assert survey.levels(_EVENT) == (0,)
    assert survey.runs == 1
    survey.program((_EVENT, _EVENT), 0)
    assert survey.runs == 2


def test_more_invocations_than_orders_can_be_tried_are_not_compared(make: Make) -> None:
    survey = _survey(*make("def handler(event): return event\n"))
    program = survey.program((1,) * 5, 0)
    assert program.known.references.observations == {}
    assert any("Results of 5 invocations" in each for each in survey.notes)


# ---------------------------------------------------------------------- searching

_RACY = (
    "import threading\nL = threading.Lock()\nCOUNT = {'n': 0}\n"
    "def handler(event):\n    n = COUNT['n']\n    with L: pass\n    COUNT['n'] = n + 1\n"
)
_SMALL = SearchSettings(budget_s=AMPLE_S, max_schedules=60)


def _search(made: tuple[Subject, Stage], settings: SearchSettings, many: int = 2) -> Answer:
    return search_handler(*made, [{"note": "text"}], settings, concurrency=many)


def test_a_race_is_found_with_two_and_its_token_finds_it_again(make: Make) -> None:
    made = make(_RACY)
    (finding,) = _search(made, _SMALL, many=3).result.findings[:1]
    assert finding.oracle == "serial"
    assert len(finding.events) == 2
    replay: Replay = decode(finding.token)
    name, _, level = replay.subject.rpartition("#")
    assert name == made[0].name
    assert level in {"0", "1", "2"}
    again = _search(made, replace(_SMALL, first=(replay,), granularities=(replay.granularity,)))
    assert again.result.findings[0].sentence == finding.sentence


def test_a_token_that_fails_no_more_is_told_of(make: Make) -> None:
    made = make("def handler(event): return event\n")
    replay = Replay(f"{made[0].name}#0", Granularity.GIL, events=({}, {}))
    answer = _search(made, replace(_SMALL, first=(replay,)))
    assert answer.result.findings == ()
    assert any("does not fail any more" in each for each in answer.result.notes)


def test_a_budget_that_is_spent_on_one_invocation_claims_nothing(make: Make) -> None:
    answer = _search(make(_RACY), replace(_SMALL, max_schedules=1))
    assert answer.result.findings == ()
    assert answer.result.coverage.bound == -1


def test_serial_runs_are_counted(make: Make) -> None:
    coverage = _search(make("def handler(event): return 1\n"), _SMALL).result.coverage
    assert coverage.searches["alone"] > 0
    assert sum(coverage.searches.values()) == coverage.schedules
