"""The fleet: every move a slot can make, and laws that hold whatever happens."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lmi_runtime.model import Failure
from lmi_runtime.supervisor.fleet import (
    TRANSITIONS,
    Action,
    Drain,
    Event,
    Exit,
    Fleet,
    Kill,
    Phase,
    Release,
    ReportInitError,
    Spawn,
)
from lmi_runtime.supervisor.policy import RestartRules
from tests.support.examples import few

RULES = RestartRules(jitter=0.0)
FAILURE = Failure("Runtime.ImportModuleError", "ImportError", "no module x")


def fleet_of(size: int, rules: RestartRules = RULES) -> Fleet:
    fleet = Fleet(size, rules, random=lambda: 0.0)
    assert fleet.tick(0.0) == [Spawn(slot) for slot in range(size)]
    return fleet


def serving(size: int) -> Fleet:
    fleet = fleet_of(size)
    for slot in range(size):
        fleet.ready(slot, 0.0)
    assert fleet.released
    return fleet


def die(fleet: Fleet, slot: int, now_s: float, *answered: int) -> list[Action]:
    return fleet.died(slot, now_s, "was killed by SIGKILL", answered=answered)


def test_the_table_has_an_end_and_every_phase_leads_to_it() -> None:
    ends = {Phase.GONE}
    for _ in Phase:
        ends |= {before for (before, _), after in TRANSITIONS.items() if after in ends}

    assert ends == set(Phase)
    assert not [before for before, _ in TRANSITIONS if before is Phase.GONE]
    assert {after for _, after in TRANSITIONS.items()} == set(Phase)
    assert {event for _, event in TRANSITIONS} == set(Event)


def test_nobody_polls_before_everybody_is_ready() -> None:
    fleet = fleet_of(3)

    assert fleet.ready(1, 0.1) == []
    assert fleet.ready(0, 0.2) == []
    assert fleet.ready(2, 0.3) == [Release(0), Release(1), Release(2)]


def test_a_slow_sibling_is_waited_for_only_so_long() -> None:
    """The clock starts with the first that is ready: an import may take as long as it takes."""
    fleet = fleet_of(2)
    assert fleet.wake_s() is None
    fleet.ready(1, 60.0)

    assert fleet.wake_s() == 60.0 + RULES.ready_timeout_s
    assert fleet.tick(61.9) == []
    assert fleet.tick(62.0) == [Release(1)]
    assert fleet.wake_s() is None
    assert fleet.ready(0, 70.0) == [Release(0)]


def test_a_death_before_the_release_does_not_leave_a_wake_up_behind() -> None:
    """Otherwise the supervisor would spin on a moment that is past."""
    fleet = fleet_of(2)
    fleet.ready(0, 0.0)
    assert die(fleet, 0, 1.0) == [Spawn(0)]

    assert fleet.wake_s() is None
    assert fleet.tick(10.0) == []


def test_a_dead_worker_is_replaced_at_once_and_then_with_backoff() -> None:
    fleet = serving(1)

    assert die(fleet, 0, 20.0, 0) == [Spawn(0)]
    assert fleet.ready(0, 20.0) == [Release(0)]
    assert die(fleet, 0, 20.5, 0) == []
    assert fleet.wake_s() == pytest.approx(20.6)
    assert fleet.tick(20.55) == []
    assert fleet.tick(20.6) == [Spawn(0)]


def test_a_stable_life_wipes_the_slate() -> None:
    fleet = serving(1)
    now_s = 0.0
    for _ in range(6):
        die(fleet, 0, now_s, 0)
        now_s += 10.0
        fleet.tick(now_s)
        fleet.ready(0, now_s)

    assert die(fleet, 0, now_s + RULES.stable_after_s, 0) == [Spawn(0)]


def test_every_slot_gets_three_fruitless_lives_before_the_environment_is_given_up() -> None:
    fleet = fleet_of(2)
    now_s = 0.0
    actions: list[Action] = []
    for _ in range(3):
        for slot in (0, 1):
            assert actions == []
            actions = [it for it in die(fleet, slot, now_s) if not isinstance(it, Spawn)]
        now_s += 10.0
        if not actions:
            fleet.tick(now_s)

    report, leave = actions
    assert isinstance(report, ReportInitError)
    assert report.failure.error_type == "Runtime.ExitError"
    assert "was killed by SIGKILL" in report.failure.message
    assert leave == Exit(1)


def test_one_slot_that_works_keeps_the_environment() -> None:
    fleet = serving(2)
    now_s = 0.0
    for _ in range(20):
        assert Exit(1) not in die(fleet, 0, now_s, 1)
        now_s += 10.0
        fleet.tick(now_s)

    assert not fleet.ending


def test_giving_up_after_the_release_reports_no_init_error() -> None:
    """The platform takes none from an environment that has polled."""
    fleet = serving(1)

    assert die(fleet, 0, 0.0) == [Spawn(0)]
    assert die(fleet, 0, 0.0) == []
    fleet.tick(1.0)
    assert die(fleet, 0, 1.0) == [Exit(1)]


def test_a_failed_init_ends_the_whole_environment_and_is_reported_once() -> None:
    fleet = fleet_of(3)
    fleet.ready(0, 0.0)

    assert fleet.init_failed(1, FAILURE, 0.1) == [
        ReportInitError(FAILURE),
        Kill(0),
        Kill(1),
        Kill(2),
    ]
    assert fleet.init_failed(2, FAILURE, 0.1) == []
    assert die(fleet, 1, 0.1) == die(fleet, 2, 0.1) == []
    assert die(fleet, 0, 0.1) == [Exit(1)]


def test_a_replacement_whose_init_fails_is_only_one_more_death() -> None:
    fleet = serving(2)
    die(fleet, 0, 20.0, 0, 1)

    assert fleet.init_failed(0, FAILURE, 20.1) == [Kill(0)]
    assert die(fleet, 0, 20.1, 1) == []
    assert fleet.tick(20.3) == [Spawn(0)]


def test_a_stop_drains_those_who_can_hear_and_kills_those_who_import() -> None:
    fleet = fleet_of(4)
    fleet.ready(0, 0.0)
    fleet.tick(2.0)
    assert fleet.phase(0) is Phase.SERVING
    die(fleet, 2, 2.0)
    die(fleet, 2, 2.0)  # its second death: it waits
    assert fleet.phase(2) is Phase.WAITING

    assert fleet.stop(2.05) == [Drain(0), Kill(1), Kill(3)]
    assert fleet.phase(2) is Phase.GONE
    assert fleet.tick(2.2) == []
    assert [die(fleet, slot, 2.2) for slot in (1, 3, 0)] == [[], [], [Exit(0)]]


def test_what_still_runs_when_the_budget_is_spent_is_killed() -> None:
    fleet = serving(2)
    fleet.stop(10.0)
    die(fleet, 0, 10.1)

    assert fleet.wake_s() == pytest.approx(10.45)
    assert fleet.tick(10.45) == [Kill(1)]
    assert fleet.wake_s() == pytest.approx(10.55)
    assert fleet.tick(10.5) == []
    assert die(fleet, 1, 10.5) == [Exit(0)]


def test_a_process_that_cannot_be_killed_does_not_hold_us() -> None:
    fleet = serving(1)
    fleet.stop(10.0)
    fleet.tick(10.5)

    assert fleet.tick(10.6) == [Exit(0)]
    assert fleet.tick(10.7) == []


def test_asking_twice_does_not_move_the_deadline() -> None:
    fleet = serving(1)
    fleet.stop(10.0)

    assert fleet.stop(10.4) == []
    assert fleet.wake_s() == pytest.approx(10.45)


def test_a_stop_during_a_fatal_end_does_not_make_it_a_success() -> None:
    fleet = fleet_of(1)
    fleet.init_failed(0, FAILURE, 0.0)
    fleet.stop(0.0)

    assert die(fleet, 0, 0.1) == [Exit(1)]


def test_a_stop_with_no_process_left_ends_at_once() -> None:
    fleet = fleet_of(1)
    die(fleet, 0, 0.0)
    die(fleet, 0, 0.0)

    assert fleet.stop(0.05) == [Exit(0)]


def test_an_unreachable_platform_drains_and_asks_for_a_replacement() -> None:
    fleet = serving(2)

    assert fleet.unreachable(5.0) == [Drain(0), Drain(1)]
    assert die(fleet, 0, 5.0) == []
    assert die(fleet, 1, 5.1) == [Exit(1)]


@pytest.mark.parametrize("event", ["ready", "died"])
def test_late_news_changes_nothing(event: str) -> None:
    fleet = serving(1)
    fleet.stop(0.0)
    die(fleet, 0, 0.0)

    late = fleet.ready(0, 0.1) if event == "ready" else die(fleet, 0, 0.1)

    assert late == []
    assert fleet.phase(0) is Phase.GONE


class FleetMachine(RuleBasedStateMachine):
    """Any history of an environment, on a virtual clock, against what may never happen."""

    @initialize(
        size=st.integers(1, 4),
        jitter=st.floats(0, 1),
        give_up_after=st.integers(1, 4),
        chance=st.floats(0, 1, exclude_max=True),
    )
    def start(self, size: int, jitter: float, give_up_after: int, chance: float) -> None:
        self.policy = RestartRules(jitter=jitter, give_up_after=give_up_after)
        self.fleet = Fleet(size, self.policy, random=lambda: chance)
        self.now_s = 0.0
        self.size = size
        self.processes: dict[int, str] = {}  # slot: starting, ready, polling
        self.answered: set[int] = set()
        self.killed: set[int] = set()
        self.reports = 0
        self.left: int | None = None
        self.ending_since_s: float | None = None
        self.seen: list[Action] = []
        self.carry_out(self.fleet.tick(0.0))

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            assert self.left is None, "nothing comes after the exit"
            self.seen.append(action)
            match action:
                case Spawn(slot):
                    assert slot not in self.processes, "one process a slot"
                    assert self.ending_since_s is None, "nobody is born while we leave"
                    self.processes[slot] = "starting"
                    self.answered.discard(slot)
                case Release(slot):
                    assert self.processes[slot] == "ready"
                    self.processes[slot] = "polling"
                case Drain(slot) | Kill(slot):
                    assert slot in self.processes
                    self.killed |= {slot} if isinstance(action, Kill) else set()
                case ReportInitError():
                    self.reports += 1
                    assert "polling" not in self.processes.values()
                case Exit(code):
                    self.left = code
        if self.fleet.ending and self.ending_since_s is None:
            self.ending_since_s = self.now_s

    def pick(self, data: st.DataObject, *states: str) -> int | None:
        slots = sorted(slot for slot, state in self.processes.items() if state in states)
        return data.draw(st.sampled_from(slots)) if slots else None

    @precondition(lambda self: self.left is None)
    @rule(step_s=st.floats(0, 15))
    def time_passes(self, step_s: float) -> None:
        """As the supervisor does it: never past a wake-up."""
        end_s = self.now_s + step_s
        while self.left is None and (wake_s := self.fleet.wake_s()) is not None:
            if wake_s > end_s:
                break
            assert wake_s > self.now_s, "a tick leaves nothing that is due"
            self.now_s = wake_s
            self.carry_out(self.fleet.tick(self.now_s))
        self.now_s = end_s
        if self.left is None:
            self.carry_out(self.fleet.tick(self.now_s))

    @precondition(lambda self: self.left is None)
    @rule(data=st.data())
    def becomes_ready(self, data: st.DataObject) -> None:
        slot = self.pick(data, "starting")
        if slot is not None:
            self.processes[slot] = "ready"
            self.carry_out(self.fleet.ready(slot, self.now_s))

    @precondition(lambda self: self.left is None)
    @rule(data=st.data())
    def answers(self, data: st.DataObject) -> None:
        slot = self.pick(data, "polling")
        if slot is not None:
            self.answered.add(slot)

    @precondition(lambda self: self.left is None)
    @rule(data=st.data())
    def dies(self, data: st.DataObject) -> None:
        slot = self.pick(data, "starting", "ready", "polling")
        if slot is not None:
            del self.processes[slot]
            answered = frozenset(self.answered)
            others_useful = (answered - {slot}) & self.processes.keys()
            self.carry_out(self.fleet.died(slot, self.now_s, "died", answered=answered))
            assert not (others_useful and self.left == 1 and self.ending_since_s == self.now_s)
            self.answered.discard(slot)

    @precondition(lambda self: self.left is None)
    @rule(data=st.data())
    def init_fails(self, data: st.DataObject) -> None:
        slot = self.pick(data, "starting")
        if slot is not None:
            self.carry_out(self.fleet.init_failed(slot, FAILURE, self.now_s))

    @precondition(lambda self: self.left is None)
    @rule()
    def stop(self) -> None:
        self.carry_out(self.fleet.stop(self.now_s))

    @precondition(lambda self: self.left is not None)
    @rule(slot=st.integers(0, 3), after_s=st.floats(0, 10))
    def late_news(self, slot: int, after_s: float) -> None:
        """Whatever is still heard after the exit, nothing more is done."""
        late_s, slot = self.now_s + after_s, slot % self.size
        for actions in (
            self.fleet.ready(slot, late_s),
            self.fleet.init_failed(slot, FAILURE, late_s),
            self.fleet.died(slot, late_s, "died", answered=()),
            self.fleet.stop(late_s),
            self.fleet.tick(late_s),
        ):
            assert actions == []

    @invariant()
    def a_report_is_the_only_one_and_means_failure(self) -> None:
        assert self.reports <= 1
        assert not (self.reports and self.left == 0)

    @invariant()
    def leaving_takes_no_longer_than_the_budget(self) -> None:
        if self.ending_since_s is not None and self.left is None:
            budget_s = self.policy.shutdown_budget_s + self.policy.reap_grace_s
            assert self.now_s < self.ending_since_s + budget_s

    @invariant()
    def an_empty_slot_comes_back_within_the_longest_delay(self) -> None:
        if self.ending_since_s is None and len(self.processes) < self.size:
            wake_s = self.fleet.wake_s()
            assert wake_s is not None
            assert wake_s <= self.now_s + self.policy.backoff_max_s

    @invariant()
    def polling_begins_together_or_after_the_time_out(self) -> None:
        if self.ending_since_s is None and self.fleet.released:
            assert "ready" not in self.processes.values()

    @invariant()
    def nobody_is_left_behind(self) -> None:
        """Who still runs at the exit was killed."""
        if self.left is not None:
            assert self.processes.keys() <= self.killed


TestFleetMachine = FleetMachine.TestCase
TestFleetMachine.settings = few()
