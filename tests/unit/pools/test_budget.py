"""
Permits of an environment: how many, whose turn, and what a fork leaves.

Two budget objects on one file are to each other what two processes are: each lock is held by an
opening of the file. So most of this needs one process only.
"""

from __future__ import annotations

import gc
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmi_runtime import _sync
from lmi_runtime._sync import files
from lmi_runtime.context import WorkerFacts
from lmi_runtime.errors import ConfigurationError
from lmi_runtime.pools import Budget, Permit, budget
from lmi_runtime.pools.budget import ConnectionBudget, connection_share
from tests.support.patience import PATIENCE_S

Make = Callable[..., ConnectionBudget]


def never() -> bool:
    return False


def at_once() -> bool:
    return True


@pytest.fixture(autouse=True)
def nothing_warned_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_warned", {})


@pytest.fixture(params=["ranges", "whole files"])
def make(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Make]:
    """Budgets on the files of one environment, with both kinds of locks; nothing stays open."""
    if request.param == "whole files":
        monkeypatch.setattr(files, "_has_ranges", False)
    before = len(os.listdir("/dev/fd"))

    def make(max_connections: int = 2, environments: int = 1, **options: Any) -> ConnectionBudget:
        return ConnectionBudget(
            max_connections=max_connections,
            environments=environments,
            directory=tmp_path,
            **options,
        )

    yield make
    if len(os.listdir("/dev/fd")) > before:
        gc.collect()
    assert len(os.listdir("/dev/fd")) <= before


def take(shared: Budget) -> Permit:
    permit = shared.try_acquire()
    assert permit is not None
    return permit


def give_back(*permits: Permit) -> None:
    for permit in permits:
        permit.release()


# ---- how many


@pytest.mark.parametrize(
    ("max_connections", "environments", "share", "size"),
    [
        (100, 1, 1.0, 100),
        (100, 3, 1.0, 33),
        (100, 4, 0.5, 12),
        (100, 1, 0.29, 29),  # 28.999999999999996 in binary
        (10, 100, 1.0, 1),
    ],
)
def test_the_size_is_one_environments_part(
    make: Make, max_connections: int, environments: int, share: float, size: int
) -> None:
    assert make(max_connections, environments, share=share).size == size


@given(
    st.integers(1, 10_000),
    st.integers(1, 500),
    st.floats(0, 1, exclude_min=True, allow_subnormal=False),
)
def test_all_environments_together_stay_within_the_limit(
    max_connections: int, environments: int, share: float
) -> None:
    part = budget._per_environment(max_connections, environments, share)

    assert part * environments <= max_connections * share + environments * 1e-9
    assert (part + 1) * environments > max_connections * share


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_connections": 0}, "max_connections must be 1 to 1048576, not 0"),
        ({"max_connections": 2**20}, "max_connections must be 1 to"),
        ({"environments": 0}, "environments must be at least 1, not 0"),
        ({"share": 0}, "share must be above 0 and at most 1, not 0"),
        ({"share": 1.5}, "share must be above 0 and at most 1, not 1.5"),
        ({"name": "../x"}, "cannot be the name of a budget"),
        ({"name": ""}, "cannot be the name of a budget"),
        ({"name": ".x"}, "cannot be the name of a budget"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Make, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make(**options)


def test_too_few_connections_for_all_environments_are_warned_of_once(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        make(10, 100)

    assert [record.message for record in caplog.records] == [
        "10 connections x 1.0 are fewer than 100 environments; each opens one nevertheless, and "
        "the server may refuse some."
    ]


def test_by_default_its_file_lies_in_a_private_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    own = ConnectionBudget(max_connections=1, environments=1)
    assert list(tmp_path.iterdir()) == []  # nothing is made before it is used

    take(own).release()

    [folder] = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in folder.iterdir()] == ["connections"]


# ---- permits


def test_no_more_permits_are_given_than_there_are_whoever_asks(make: Make) -> None:
    one, other = make(3), make(3)

    permits = [take(one), take(other), take(one)]

    assert (one.try_acquire(), other.try_acquire()) == (None, None)
    assert (one.held, other.held) == (2, 1)
    give_back(permits.pop())
    permits.append(take(other))
    assert (one.held, other.held) == (1, 2)
    give_back(*permits)
    assert (one.held, other.held) == (0, 0)


def test_a_permit_is_given_back_once(make: Make) -> None:
    own = make(1)
    permit = take(own)
    permit.release()
    again = take(own)

    permit.release()

    assert own.held == 1
    assert own.try_acquire() is None
    again.release()


def test_budgets_of_different_names_are_different_budgets(make: Make) -> None:
    permits = [take(make(1, name=name)) for name in ("orders", "stock")]

    give_back(*permits)


def test_the_smaller_of_two_sizes_counts_and_is_warned_of_once(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    large = make(5)
    permits = [take(large) for _ in range(2)]
    small = make(3)

    permits.append(take(small))

    assert large.try_acquire() is None
    assert (large.size, small.size, large.size) == (3, 3, 3)
    assert [record.message for record in caplog.records] == [
        "Budgets named 'connections' have different sizes in this environment; the smaller one "
        "counts."
    ]
    give_back(*permits)


def test_whoever_comes_with_a_larger_size_is_told_too(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    small = make(3)
    assert small.size == 3
    large = make(5)

    assert large.size == 3
    assert len(caplog.records) == 1


def test_a_smaller_size_counts_no_more_when_nobody_has_it(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    large, small = make(5), make(3)
    assert small.size == large.size == 3

    del small
    gc.collect()

    assert large.size == 5


def test_a_file_that_somebody_removes_is_made_again(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Functions that tidy up /tmp are common."""
    own = make(1)
    permit = take(own)
    for path in tmp_path.iterdir():
        path.unlink()

    again, other = take(own), make(1)

    assert other.try_acquire() is None
    assert own.held == 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "was removed" in caplog.text
    give_back(permit, again)


STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["take", "wait", "give", "probe"])), max_size=40
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(steps=STEPS)
def test_three_processes_follow_the_model_of_a_counter(
    make: Make, tmp_path: Path, steps: list[tuple[int, str]]
) -> None:
    """Conservation: what is free and what is held always make up the size."""
    everybody = [make(3) for _ in range(3)]
    held: list[list[Permit]] = [[], [], []]
    for who, act in steps:
        own = everybody[who]
        free = 3 - sum(map(len, held))
        if act == "give" and held[who]:
            held[who].pop(0).release()
        elif act in {"take", "wait"}:
            got = own.try_acquire() if act == "take" else own.acquire(at_once)
            assert (got is not None) == (free > 0)
            held[who] += [got] if got is not None else []
        assert [each.held for each in everybody] == [len(mine) for mine in held]
        assert not own.others_wait()
    give_back(*(permit for mine in held for permit in mine))


# ---- waiting


class Waiters:
    """
    Threads that wait for permits, each of which asks again only when told to.

    The pauses between two questions are where they stop; nothing sleeps.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.news: queue.Queue[tuple[str, str]] = queue.Queue()
        self.pauses: dict[str, list[float]] = {}
        self.permits: dict[str, Permit | None] = {}
        self._gates: dict[str, threading.Semaphore] = {}
        self._threads: list[threading.Thread] = []
        monkeypatch.setattr(_sync, "sleep", self._pause)

    def start(self, name: str, own: Budget, give_up: Callable[[], bool] = never) -> str:
        """Return what the thread did first: "asked", and waits; or "ended"."""

        def body() -> None:
            self.permits[name] = own.acquire(give_up)
            self.news.put((name, "ended"))

        self._gates[name] = threading.Semaphore(0)
        thread = threading.Thread(target=body, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
        return self._news_of(name)

    def step(self, name: str) -> str:
        """Let it ask once more."""
        self._gates[name].release()
        return self._news_of(name)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _pause(self, seconds: float) -> None:
        name = threading.current_thread().name
        self.pauses.setdefault(name, []).append(seconds)
        self.news.put((name, "asked"))
        assert self._gates[name].acquire(timeout=PATIENCE_S)

    def _news_of(self, name: str) -> str:
        who, what = self.news.get(timeout=PATIENCE_S)
        assert who == name
        return what


@pytest.fixture
def waiters(monkeypatch: pytest.MonkeyPatch) -> Waiters:
    return Waiters(monkeypatch)


def test_who_comes_first_is_served_first_whoever_asks_first(make: Make, waiters: Waiters) -> None:
    """Three wait, of two processes; a permit becomes free, and the last one asks first."""
    one, other = make(1), make(1)
    permit = take(one)
    for name, own in (("a", one), ("b", other), ("c", one)):
        assert waiters.start(name, own) == "asked"

    permit.release()

    assert (waiters.step("c"), waiters.step("b")) == ("asked", "asked")
    assert waiters.step("a") == "ended"
    give_back(waiters.permits["a"] or permit)
    assert waiters.step("c") == "asked"
    assert waiters.step("b") == "ended"
    give_back(waiters.permits["b"] or permit)
    assert waiters.step("c") == "ended"
    give_back(waiters.permits["c"] or permit)
    waiters.join()
    assert not one.others_wait()


def test_whoever_does_not_wait_does_not_overtake(make: Make, waiters: Waiters) -> None:
    one, other = make(1), make(1)
    permit = take(one)
    waiters.start("a", one)
    permit.release()

    assert one.try_acquire() is None
    assert other.try_acquire() is None
    assert other.acquire(at_once) is None  # it stood behind "a", and left

    assert waiters.step("a") == "ended"
    give_back(waiters.permits["a"] or permit)
    take(other).release()
    waiters.join()


def test_everybody_is_told_that_somebody_waits_as_long_as_they_do(
    make: Make, waiters: Waiters
) -> None:
    one, other = make(1), make(1)
    permit, tired = take(one), threading.Event()
    assert not other.others_wait()

    waiters.start("a", one, tired.is_set)
    assert one.others_wait() and other.others_wait()
    tired.set()
    assert waiters.step("a") == "ended"

    assert waiters.permits["a"] is None
    assert not one.others_wait() and not other.others_wait()
    permit.release()
    waiters.join()


def test_one_owner_is_not_the_others(make: Make) -> None:
    own = make(1)
    permit = take(own)
    told: list[tuple[bool, bool]] = []

    def give_up() -> bool:
        told.append((own.others_wait("pool"), own.others_wait("another")))
        return True

    assert own.acquire(give_up, "pool") is None

    assert told == [(False, True)]
    assert not own.others_wait("another")
    permit.release()


def test_one_that_gives_up_in_the_middle_of_the_line_is_skipped_and_overtaken_by_nobody(
    make: Make, waiters: Waiters
) -> None:
    own = make(1)
    permit, tired = take(own), threading.Event()
    waiters.start("a", own)
    waiters.start("b", own, tired.is_set)
    waiters.start("c", own)

    tired.set()
    assert waiters.step("b") == "ended"
    permit.release()

    assert waiters.step("c") == "asked"  # not its turn: "a" came before
    assert waiters.step("a") == "ended"
    give_back(waiters.permits["a"] or permit)
    assert waiters.step("c") == "ended"
    give_back(waiters.permits["c"] or permit)
    assert waiters.permits["b"] is None
    waiters.join()


def test_an_error_of_whoever_decides_to_give_up_leaves_the_line(make: Make) -> None:
    own = make(1)
    permit = take(own)

    with pytest.raises(ZeroDivisionError):
        own.acquire(lambda: bool(1 // 0))

    assert not own.others_wait()
    permit.release()


def test_the_line_is_joined_or_given_up_also_when_somebody_stopped_while_joining(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is stopped, as by a debugger, at the worst moment."""
    monkeypatch.setattr(_sync.clocks, "sleep", lambda seconds: None)
    own = make(1)
    permit = take(own)
    stopped = own._member().file.try_lock(budget._COUNTER)
    answers = iter([False, True])

    assert own.acquire(lambda: next(answers)) is None

    assert stopped is not None
    stopped.release()
    permit.release()


def test_the_first_asks_often_and_the_others_the_more_seldom_the_further_back(
    make: Make, waiters: Waiters
) -> None:
    own = make(1)
    permit = take(own)
    for name in "abc":
        waiters.start(name, own)
    for _ in range(200):
        waiters.step("a")

    assert waiters.pauses["a"][0] == 0.000_5
    assert waiters.pauses["a"][-1] == 0.005
    assert waiters.pauses["a"] == sorted(waiters.pauses["a"])
    assert (waiters.pauses["b"], waiters.pauses["c"]) == ([0.002], [0.004])
    permit.release()
    for name in "abc":
        assert waiters.step(name) == "ended"
        give_back(waiters.permits[name] or permit)
    waiters.join()


@given(st.integers(0, 10_000), st.integers(0, 100_000))
def test_no_pause_is_so_long_that_giving_up_comes_late(before: int, asked: int) -> None:
    assert 0 < budget._pause_s(before, asked) <= 0.05


# ---- forks


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_has_none_of_its_parents_permits_and_takes_its_own(make: Make) -> None:
    own = make(3)
    permits = [take(own), take(own)]
    pid = os.fork()
    if pid == 0:
        try:
            give_back(*permits)  # they are the parent's: this does nothing
            seen = own.held, own.try_acquire() is not None, own.try_acquire(), own.held
            os._exit(0 if seen == (0, True, None, 1) else 1)
        finally:
            os._exit(2)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert own.held == 2
    last = take(own)  # the child's is free again
    assert own.try_acquire() is None
    give_back(last, *permits)


# ---- the static share


@pytest.mark.parametrize(
    ("numbers", "processes", "share"),
    [((100, 4), 5, 5), ((100, 4, 0.5), 5, 2), ((100, 4), 30, 1), ((7, 7), 1, 1)],
)
def test_the_static_share_is_a_part_for_each_process(
    monkeypatch: pytest.MonkeyPatch, numbers: tuple[Any, ...], processes: int, share: int
) -> None:
    monkeypatch.setattr(budget, "worker", lambda: WorkerFacts(processes=processes))

    assert connection_share(*numbers) == share


def test_a_share_that_is_more_than_there_is_is_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(budget, "worker", lambda: WorkerFacts(processes=16))

    assert [connection_share(16, 1), caplog.records] == [1, []]
    assert [connection_share(15, 1) for _ in range(3)] == [1, 1, 1]

    [record] = caplog.records
    assert record.message == (
        "15 connections x 1.0 are fewer than 1 environments with 16 worker processes each need "
        "to have one connection per process; the server may refuse some."
    )


def test_a_share_of_nonsense_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="environments must be at least 1"):
        connection_share(10, 0)
