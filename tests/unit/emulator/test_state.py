"""The state machine, driven by hand: what may never happen, and the edges the wire cannot show."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lmi_runtime.emulator.answers import INTERNAL_ERROR, Answer, Reply
from lmi_runtime.emulator.facts import (
    Clock,
    Deliver,
    Hangup,
    Invocation,
    InvokeRequest,
    Phase,
    Poll,
    PostHead,
    Settle,
    Stage,
)
from lmi_runtime.emulator.options import EmulatorOptions
from lmi_runtime.emulator.state import Environment
from tests.support.examples import few


class World:
    """An environment, its clock, and what became of every caller and poll."""

    def __init__(self, **options: object) -> None:
        self.now_s = 0.0
        self.environment = Environment(
            EmulatorOptions(**options),  # type: ignore[arg-type]
            clock=Clock(monotonic_s=lambda: self.now_s, epoch_ms=lambda: int(self.now_s * 1000)),
        )
        self.environment.start_init()
        self.answers: list[tuple[str, Answer]] = []
        self.delivered: list[tuple[Poll, Invocation]] = []
        self.hung_up: list[Poll] = []

    def apply(self) -> None:
        effects, self.environment.outbox = self.environment.outbox, []
        for effect in effects:
            match effect:
                case Settle(invocation, answer):
                    self.answers.append((invocation.request.request_id, answer))
                case Deliver(poll, invocation):
                    self.delivered.append((poll, invocation))
                case Hangup(poll):
                    self.hung_up.append(poll)

    def poll(self) -> Poll:
        poll = Poll()
        assert self.environment.poll(poll) is None
        self.apply()
        return poll

    def invoke(self, request_id: str = "r", event: bytes = b"{}") -> Invocation:
        invocation = self.environment.invoke(InvokeRequest(event, request_id), lambda _: None)
        self.apply()
        return invocation

    def respond(self, request_id: str, invocation_id: str = "") -> Reply | None:
        head = PostHead(request_id, invocation_id)
        begun = self.environment.begin_response(head)
        if isinstance(begun, Reply):
            return begun
        reply = self.environment.finish_response(begun, head, b"ok")
        self.apply()
        return reply

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.environment.expire()
        self.apply()

    def error_types(self) -> list[str | None]:
        return [answer.error_type for _, answer in self.answers]


def test_poll_number_10001_is_answered_500_at_once() -> None:
    world = World()
    for _ in range(10_000):
        world.poll()

    assert world.environment.poll(Poll()) is INTERNAL_ERROR


def test_ghosts_count_towards_the_queue_limit() -> None:
    world = World(max_idle_polls=1)
    world.environment.abandon(world.poll())

    assert world.environment.poll(Poll()) is INTERNAL_ERROR


def test_only_the_last_thousand_time_outs_excuse_a_late_post() -> None:
    world = World(timeout_s=1.0)
    for n in range(1001):
        world.poll()
        world.invoke(f"r-{n}")
    world.pass_time(1.0)

    assert world.respond("r-0").status == 400  # type: ignore[union-attr]
    assert world.respond("r-1").status == 410  # type: ignore[union-attr]
    assert world.respond("r-1000").status == 410  # type: ignore[union-attr]


def test_limit_is_enforced_when_asked_for() -> None:
    world = World(max_concurrency=1, enforce_max_concurrency=True, throttle_status=429)
    world.poll()
    world.poll()
    world.invoke("first")
    world.invoke("second")

    assert [(r, a.status, a.refused) for r, a in world.answers] == [("second", 429, True)]


def test_deadline_is_time_out_ahead_of_now_unless_the_bug_is_wanted() -> None:
    right, wrong = World(timeout_s=2.0), World(timeout_s=2.0, rie_deadline_bug=True)
    for world in (right, wrong):
        world.poll()
        world.invoke()

    assert right.delivered[0][1].deadline_ms == 2_000
    assert wrong.delivered[0][1].deadline_ms == 2_000_000_000


def test_timer_is_due_at_the_oldest_deadline_that_can_still_be_missed() -> None:
    world = World(timeout_s=5.0)
    world.poll()
    world.poll()
    world.invoke("uploading")
    world.now_s = 1.0
    world.invoke("running")
    begun = world.environment.begin_response(PostHead("uploading"))

    assert isinstance(begun, Invocation)
    assert world.environment.next_deadline_s() == 6.0


def test_calls_that_waited_for_init_compete_for_the_polls_that_come() -> None:
    world = World()
    world.invoke("first")
    world.invoke("second")
    world.poll()

    assert [i.request.request_id for _, i in world.delivered] == ["first"]
    assert world.error_types() == ["Runtime.Unavailable"]


def test_caller_that_left_during_init_gets_no_event_delivered() -> None:
    world = World()
    world.environment.caller_gone(world.invoke("left"))
    world.poll()

    assert world.delivered == []


def test_init_that_takes_too_long_ends_the_environment() -> None:
    world = World(init_timeout_s=3.0)
    world.invoke()
    world.pass_time(3.0)
    world.invoke("later")

    assert world.environment.phase is Phase.CLOSED
    assert world.error_types() == ["Sandbox.Timedout"] * 2
    assert b"3.00 seconds" in world.answers[0][1].body


def test_environment_can_be_started_again_after_its_process_died() -> None:
    world = World()
    world.poll()
    world.environment.runtime_exited()
    world.apply()
    world.environment.start_init()
    world.poll()
    world.invoke()

    assert len(world.hung_up) == 1
    assert len(world.delivered) == 1


def test_poll_of_a_closed_environment_is_hung_up() -> None:
    world = World()
    world.environment.close()

    assert world.hung_up == []
    assert world.poll() in world.hung_up


@pytest.mark.parametrize("options", [{"max_concurrency": 0}, {"timeout_s": 0.0}])
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        World(**options)


class Life(RuleBasedStateMachine):
    """
    Any order of events: every call is answered exactly once, with its own answer, and nothing
    is delivered to a poll that has left.
    """

    def __init__(self) -> None:
        super().__init__()
        self.world = World(timeout_s=10.0, max_concurrency=3)
        self.called: list[str] = []
        self.left: set[str] = set()
        self.waiting: list[Poll] = []
        self.gone: list[Poll] = []
        self.open_calls: dict[str, Invocation] = {}
        self.uploads: list[tuple[Invocation, PostHead]] = []

    @property
    def environment(self) -> Environment:
        return self.world.environment

    def apply(self) -> None:
        self.world.apply()
        delivered = {poll for poll, _ in self.world.delivered} | set(self.world.hung_up)
        self.waiting = [poll for poll in self.waiting if poll not in delivered]

    @rule()
    def poll(self) -> None:
        poll = Poll()
        if self.environment.poll(poll) is None:
            self.waiting.append(poll)
        self.apply()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        poll = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(poll)
        self.gone.append(poll)
        self.environment.abandon(poll)
        self.apply()

    @rule()
    def call(self) -> None:
        request_id = f"r-{len(self.called)}"
        self.called.append(request_id)
        self.open_calls[request_id] = self.environment.invoke(
            InvokeRequest(b"{}", request_id), lambda _: None
        )
        self.apply()

    @precondition(lambda self: self.open_calls)
    @rule(data=st.data())
    def hang_up(self, data: st.DataObject) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.open_calls)))
        invocation = self.open_calls.pop(request_id)
        if invocation.stage in (Stage.QUEUED, Stage.RUNNING):
            self.left.add(request_id)
        self.environment.caller_gone(invocation)
        self.apply()

    @precondition(lambda self: self.world.delivered)
    @rule(data=st.data(), what=st.sampled_from(["response", "error", "cut", "big", "begin"]))
    def post(self, data: st.DataObject, what: str) -> None:
        _, invocation = data.draw(st.sampled_from(self.world.delivered))
        head = PostHead(invocation.request.request_id, invocation.invocation_id)
        if what == "error":
            self.environment.post_error(head, b"{}")
        else:
            begun = self.environment.begin_response(head)
            if isinstance(begun, Invocation):
                self._end_upload(begun, head, what)
        self.apply()

    def _end_upload(self, invocation: Invocation, head: PostHead, what: str) -> None:
        if what == "begin":
            self.uploads.append((invocation, head))
        elif what == "cut":
            self.environment.truncated_response(invocation)
        elif what == "big":
            self.environment.oversized_response(invocation)
        else:
            self.environment.finish_response(invocation, head, head.request_id.encode())

    @precondition(lambda self: self.uploads)
    @rule()
    def finish_upload(self) -> None:
        invocation, head = self.uploads.pop()
        self.environment.finish_response(invocation, head, head.request_id.encode())
        self.apply()

    @rule(seconds=st.sampled_from([1.0, 9.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.world.now_s += seconds
        self.environment.expire()
        self.apply()

    @rule()
    def exit_process(self) -> None:
        self.environment.runtime_exited()
        self.environment.start_init()
        self.apply()

    @rule()
    def shut_down(self) -> None:
        self.environment.begin_shutdown()
        self.apply()

    @invariant()
    def nobody_is_answered_twice(self) -> None:
        times = Counter(request_id for request_id, _ in self.world.answers)
        assert all(count == 1 for count in times.values())

    @invariant()
    def every_result_is_the_callers_own(self) -> None:
        assert all(a.body == r.encode() for r, a in self.world.answers if a.ok)

    @invariant()
    def nothing_was_delivered_to_a_poll_that_had_left(self) -> None:
        assert not {poll for poll, _ in self.world.delivered} & set(self.gone)

    @invariant()
    def nobody_is_forgotten(self) -> None:
        answered = {request_id for request_id, _ in self.world.answers}
        now = self.environment.statistics()
        assert len(self.called) - len(answered | self.left) == now.running + now.queued

    @invariant()
    def waiting_polls_are_counted(self) -> None:
        assert self.environment.statistics().waiting == len(self.waiting)

    def teardown(self) -> None:
        self.environment.close()
        self.apply()
        answered = {request_id for request_id, _ in self.world.answers}
        assert answered | self.left == set(self.called)


TestLife = Life.TestCase
TestLife.settings = few()
