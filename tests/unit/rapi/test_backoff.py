"""Backoff on a clock of our own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.rapi.backoff import Backoff
from lmi_runtime.rapi.transport import CONNECT_TIMEOUT_S


class Clock:
    """Moves when it is told to."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_delays_double_up_to_the_cap() -> None:
    """Without jitter the row is exact."""
    clock = Clock()
    backoff = Backoff(clock=clock, random=lambda: 0.0)
    delays_s = []
    for _ in range(9):
        delays_s.append(backoff.fault().delay_s)
        clock.now_s += delays_s[-1]
    assert delays_s == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5])


def test_faults_at_the_same_time_are_one_step() -> None:
    """When the Runtime API stumbles, all polls fail together."""
    clock = Clock()
    backoff = Backoff(clock=clock, random=lambda: 0.0)
    together = [backoff.fault() for _ in range(64)]
    assert [pause.delay_s for pause in together] == pytest.approx([0.1] * 64)
    assert [pause.first for pause in together] == [True] + [False] * 63
    clock.now_s += 0.1
    assert backoff.fault().delay_s == pytest.approx(0.2)


def test_contact_starts_afresh() -> None:
    """The next burst is a new one: short delays, a line in the log, a minute to go."""
    clock = Clock()
    backoff = Backoff(clock=clock, random=lambda: 0.0)
    assert not backoff.contact()
    backoff.fault()
    clock.now_s += 59
    backoff.fault()
    assert backoff.contact()
    assert not backoff.contact()
    clock.now_s += 59
    pause = backoff.fault()
    assert pause.first
    assert not pause.hopeless
    assert pause.delay_s == pytest.approx(0.1)


def test_a_minute_of_faults_is_hopeless() -> None:
    """Counted from the first fault: the poll before it may have waited an hour."""
    clock = Clock()
    backoff = Backoff(clock=clock, random=lambda: 0.0)
    clock.now_s += 3600
    for _ in range(60):
        assert not backoff.fault().hopeless
        clock.now_s += 1.0
    assert backoff.fault().hopeless


def test_polls_that_fail_slowly_are_one_burst() -> None:
    """The longest delay, the most jitter, and a connection attempt that takes its second."""
    clock = Clock()
    backoff = Backoff(clock=clock, random=lambda: 0.999)
    started_s = clock.now_s
    pauses = [backoff.fault()]
    while not pauses[-1].hopeless and len(pauses) < 100:
        clock.now_s += pauses[-1].delay_s + CONNECT_TIMEOUT_S
        pauses.append(backoff.fault())
    assert [pause.first for pause in pauses] == [True] + [False] * (len(pauses) - 1)
    assert 60.0 <= clock.now_s - started_s < 70.0


def test_hiccups_far_apart_are_not_one_burst() -> None:
    """In between the polls waited for an event, and nobody called."""
    clock = Clock()
    backoff = Backoff(clock=clock, random=lambda: 0.0)
    for _ in range(3):
        pause = backoff.fault()
        assert (pause.first, pause.hopeless) == (True, False)
        assert pause.delay_s == pytest.approx(0.1)
        clock.now_s += 600


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1, exclude_max=True)), max_size=50))
def test_a_delay_is_never_negative_nor_much_above_the_cap(
    faults: list[tuple[float, float]],
) -> None:
    """Whatever the clock and the dice say; and it ends after the moment all wait for."""
    clock = Clock()
    jitter = iter([dice for _, dice in faults])
    backoff = Backoff(clock=clock, random=lambda: next(jitter))
    for passed_s, _ in faults:
        clock.now_s += passed_s
        assert 0 < backoff.fault().delay_s < 5.0 * 1.25 + 1e-6  # clocks are floats
