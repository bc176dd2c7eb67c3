"""Signals become bytes, and everything is put back afterwards."""

from __future__ import annotations

import select
import signal

import pytest

from lmi_runtime.supervisor.signals import SignalWakeup, _for_child, _ignore

WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


def test_signals_arrive_once_and_leave_nothing_behind() -> None:
    before = [signal.getsignal(number) for number in WATCHED]
    wakeup = SignalWakeup()
    try:
        assert wakeup.take() == frozenset()
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGTERM):
            signal.raise_signal(number)

        assert select.select([wakeup.reader], [], [], 5)[0]
        assert wakeup.take() == {signal.SIGTERM, signal.SIGCHLD}
        assert wakeup.take() == frozenset()
    finally:
        wakeup.restore()

    assert [signal.getsignal(number) for number in WATCHED] == before
    assert wakeup.reader.fileno() == -1


def test_more_signals_than_the_buffer_takes_are_still_noticed() -> None:
    wakeup = SignalWakeup()
    try:
        for _ in range(5000):
            signal.raise_signal(signal.SIGCHLD)

        assert wakeup.take() == {signal.SIGCHLD}
    finally:
        wakeup.restore()


def own(_number: int, _frame: object) -> None:
    """A handler of the user's module."""


@pytest.mark.parametrize(
    ("number", "before", "in_child"),
    [
        (signal.SIGTERM, signal.SIG_DFL, _ignore),  # would end the worker mid-invocation
        (signal.SIGTERM, signal.SIG_IGN, _ignore),
        (signal.SIGTERM, None, _ignore),
        (signal.SIGTERM, own, own),
        (signal.SIGINT, signal.default_int_handler, _ignore),
        (signal.SIGINT, own, own),
        (signal.SIGCHLD, signal.SIG_DFL, signal.SIG_DFL),
        (signal.SIGCHLD, own, own),
        (signal.SIGCHLD, None, signal.SIG_DFL),
    ],
)
def test_what_a_worker_does_with_a_signal(
    number: signal.Signals, before: object, in_child: object
) -> None:
    assert _for_child(number, before) is in_child  # type: ignore[arg-type]
