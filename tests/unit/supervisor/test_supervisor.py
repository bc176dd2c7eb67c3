"""The supervisor's shell, with workers, time and signals that are all made up."""

from __future__ import annotations

import logging
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest

from lmi_runtime.model import Failure, Invocation, Mode
from lmi_runtime.supervisor import (
    InFlight,
    Order,
    RestartRules,
    SharedLedger,
    Supervisor,
    WorkerPlan,
)
from lmi_runtime.supervisor.fleet import Phase
from lmi_runtime.supervisor.link import Garbage, InitFailed, Message, Ready

SIGKILLED = signal.SIGKILL.value
FAILURE = Failure("Runtime.ImportModuleError", "ImportError", "no module x")


def sleep() -> None:
    """A step of the script: nothing happens until the time-out."""


class FakeWorker:
    def __init__(self, pid: int, slots: int) -> None:
        self.pid = pid
        self.slots = slots
        self.ledger = SharedLedger(4)
        self.orders: list[Order] = []
        self.says: list[Message] = []
        self.hung_up = False
        self.killed = self.closed = self.reaped = False
        self.status: int | str | None = "alive"

    def fileno(self) -> int:
        return self.pid

    def send(self, order: Order) -> None:
        assert not self.closed
        self.orders.append(order)

    def receive(self) -> tuple[list[Message], bool]:
        said, self.says = self.says, []
        return said, not (self.hung_up or self.status != "alive")

    def kill(self) -> None:
        assert not self.reaped, "its pid may be somebody else's by now"
        self.killed = True
        if self.status == "alive":
            self.status = SIGKILLED

    def close(self) -> None:
        self.closed = True
        self.ledger.close()


class World:
    """A spawner, a selector, a clock and signals in one; scripted step by step."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.workers: list[FakeWorker] = []
        self.refuse_spawns = 0
        self.arrived: set[int] = set()
        self.steps: deque[Callable[[], object]] = deque()
        self.registered: dict[Any, Callable[[], None]] = {}
        self.slept_s: list[float] = []
        self.restored = False
        self.reader = object()
        self.poll: socket.socket | None = None
        self.did: list[tuple[Any, ...]] = []
        self.broken_hooks = False

    # Spawner

    def spawn(self, index: int, slots: int, *, leave_to_child: Callable[[], None]) -> FakeWorker:
        if self.refuse_spawns:
            self.refuse_spawns -= 1
            raise BlockingIOError(11, "Resource temporarily unavailable")
        self.workers.append(FakeWorker(1000 + len(self.workers), slots))
        return self.workers[-1]

    def reap(self, pids: Iterable[int]) -> Iterator[tuple[int, int | None]]:
        for worker in self.workers:
            if worker.pid in pids and worker.status != "alive":
                assert not isinstance(worker.status, str)
                worker.reaped = True
                yield worker.pid, worker.status

    # Signals

    def take(self) -> frozenset[int]:
        arrived, self.arrived = frozenset(self.arrived), set()
        return arrived

    def restore(self) -> None:
        self.restored = True

    def leave_to_child(self) -> None:
        raise AssertionError("There is no child here.")

    # Selector

    def register(self, what: Any, _events: int, data: Callable[[], None]) -> None:
        self.registered[what] = data

    def unregister(self, what: Any) -> None:
        del self.registered[what]

    def close(self) -> None:
        pass

    def select(self, timeout_s: float | None) -> list[tuple[Any, int]]:
        """Do the next step of the script; sleep when it says so, or has ended."""
        if timeout_s == 0:
            return []
        if not self.steps or self.steps[0] is sleep:
            assert timeout_s is not None, "the supervisor sleeps for ever"
            self.steps.popleft() if self.steps else None
            self.slept_s.append(timeout_s)
            self.now_s += timeout_s
            return []
        self.steps.popleft()()
        ready = [it for it in self.registered if self._readable(it)]
        return [(_Key(self.registered[it]), 1) for it in ready]

    def _readable(self, what: Any) -> bool:
        if what is self.reader:
            return bool(self.arrived)
        if isinstance(what, FakeWorker):
            return bool(what.says) or what.hung_up or what.status != "alive"
        return what is self.poll

    # Hooks

    def answer_dead(self, lost: Sequence[InFlight], why: str) -> None:
        if self.broken_hooks:
            raise ConnectionError("the platform is gone")
        self.did.append(("answer_dead", tuple(lost), why))

    def report_init_error(self, failure: Failure) -> None:
        self.did.append(("report_init_error", failure))

    def open_event_poll(self) -> socket.socket | None:
        if self.broken_hooks:
            raise ConnectionError("the platform is gone")
        return self.poll

    def log(self, level: int, message: str, **fields: object) -> None:
        self.did.append(("log", level, message, fields))
        if self.broken_hooks:
            raise OSError("nobody reads the log")

    # Script

    def live(self) -> list[FakeWorker]:
        return [worker for worker in self.workers if worker.status == "alive"]

    def all_ready(self) -> None:
        for worker in self.live():
            worker.says.append(Ready())

    def dies(self, number: int, status: int | None = SIGKILLED) -> None:
        self.workers[number].status = status
        self.arrived.add(signal.SIGCHLD)

    def signalled(self, number: int) -> None:
        self.arrived.add(number)

    def everybody_exits(self) -> None:
        for worker in self.live():
            worker.status = 0
        self.arrived.add(signal.SIGCHLD)

    def run(self, slots: tuple[int, ...], *steps: Callable[[], object], **rules: Any) -> int:
        self.steps.extend(steps)
        self.supervisor = Supervisor(
            WorkerPlan(slots, Mode.ASYNC),
            lambda _link: 0,
            self,
            rules=RestartRules(jitter=0.0, **rules),
            spawner=self,
            signals=lambda: self,  # type: ignore[arg-type,return-value]
            selector=self,  # type: ignore[arg-type]
            clock=lambda: self.now_s,
        )
        code = self.supervisor.run()
        assert not self.steps, "the supervisor left before the script ended"
        assert self.restored
        assert all(worker.closed for worker in self.workers)
        return code

    def hooks_called(self, name: str) -> list[tuple[Any, ...]]:
        return [it[1:] for it in self.did if it[0] == name]

    def logged(self, level: int) -> list[str]:
        return [message for at, message, _ in self.hooks_called("log") if at >= level]


class _Key:
    def __init__(self, data: Callable[[], None]) -> None:
        self.data = data


@pytest.fixture
def world() -> World:
    return World()


def stop(world: World) -> tuple[Callable[[], object], ...]:
    return (lambda: world.signalled(signal.SIGTERM), world.everybody_exits)


def test_a_life_from_start_to_stop(world: World) -> None:
    code = world.run((2, 1), world.all_ready, *stop(world))

    assert code == 0
    assert [worker.slots for worker in world.workers] == [2, 1]
    assert [worker.orders for worker in world.workers] == [[Order.GO, Order.DRAIN]] * 2
    assert world.logged(logging.WARNING) == []


def test_the_dead_are_answered_for_before_they_are_replaced(world: World) -> None:
    def dies_in_flight() -> None:
        ledger = world.workers[0].ledger
        ledger.end(ledger.begin(Invocation(request_id="done", invocation_id="x")))
        ledger.begin(Invocation(request_id="r", invocation_id="i"))
        world.workers[1].ledger.begin(Invocation(request_id="sibling", invocation_id="s"))
        world.dies(0)

    world.run((1, 1), world.all_ready, dies_in_flight, *stop(world))

    ((lost, why),) = world.hooks_called("answer_dead")
    assert lost == (("r", "i"),)
    assert why.startswith("was killed by SIGKILL")
    assert [worker.slots for worker in world.workers] == [1, 1, 1]
    statistics = world.supervisor.statistics()
    assert (statistics.deaths, statistics.answered, statistics.spawned) == (1, 1, 3)
    # The sibling was in flight at the stop, and the platform has dismissed its caller.
    assert statistics.unanswered == 1
    assert statistics.phases[Phase.GONE] == 2


def test_what_could_not_be_noted_is_counted(world: World) -> None:
    def dies_overfull() -> None:
        for number in range(6):
            world.workers[0].ledger.begin(Invocation(request_id=str(number)))
        world.dies(0)

    world.run((1,), world.all_ready, dies_overfull, *stop(world))

    assert len(world.hooks_called("answer_dead")[0][0]) == 4
    assert world.supervisor.statistics().unanswered == 2


def test_a_death_without_anything_in_flight_answers_nobody(world: World) -> None:
    world.run((1,), world.all_ready, lambda: world.dies(0, 0), *stop(world))

    assert world.hooks_called("answer_dead") == []
    assert any("code 0 although nobody asked" in it for it in world.logged(logging.ERROR))


def test_an_init_failure_read_after_the_death_still_counts(world: World) -> None:
    """The last words and the death may be noticed in either order."""

    def fails_and_is_gone() -> None:
        world.workers[0].says.append(InitFailed(FAILURE))
        world.workers[0].status = 1 << 8
        world.arrived.add(signal.SIGCHLD)
        world.registered = {world.reader: world.registered[world.reader], **world.registered}

    code = world.run((1, 1), fails_and_is_gone, world.everybody_exits)

    assert code == 1
    assert world.hooks_called("report_init_error") == [(FAILURE,)]


def test_a_fork_that_is_refused_is_tried_again(world: World) -> None:
    world.refuse_spawns = 2

    code = world.run((1,), sleep, world.all_ready, *stop(world))

    assert code == 0
    statistics = world.supervisor.statistics()
    assert (statistics.spawn_failures, statistics.spawned) == (2, 1)
    # At once the first time, after a tenth of a second the second time.
    assert world.slept_s == [pytest.approx(0.1)]


def test_a_system_that_never_forks_is_given_up(world: World) -> None:
    world.refuse_spawns = 100

    assert world.run((1, 1)) == 1
    ((failure,),) = world.hooks_called("report_init_error")
    assert "Resource temporarily unavailable" in failure.message
    assert world.workers == []


def test_a_signal_while_a_replacement_is_due_starts_nobody(world: World) -> None:
    world.run(
        (1,),
        world.all_ready,
        lambda: world.dies(0),
        lambda: world.dies(1),
        lambda: world.signalled(signal.SIGTERM),
    )

    assert len(world.workers) == 2


def test_a_worker_that_died_of_the_same_signal_is_no_casualty(world: World) -> None:
    def both() -> None:
        world.dies(0, signal.SIGTERM.value)
        world.signalled(signal.SIGTERM)

    world.run((1, 1), world.all_ready, both, world.everybody_exits)

    assert len(world.workers) == 2
    assert world.supervisor.statistics().deaths == 0


def test_the_deadline_is_kept_although_signals_repeat(world: World) -> None:
    world.run(
        (1,),
        world.all_ready,
        lambda: world.signalled(signal.SIGTERM),
        lambda: world.signalled(signal.SIGTERM),
        lambda: world.signalled(signal.SIGINT),
    )

    assert world.workers[0].killed
    assert world.workers[0].orders == [Order.GO, Order.DRAIN]
    # A killed worker nobody reports as dead (this world sends no SIGCHLD) holds us no longer.
    assert world.now_s == pytest.approx(100.55)


def test_a_worker_that_hangs_up_but_lives_is_still_ended(world: World) -> None:
    """Somebody's `os.closerange` may take the link; only the system knows who is dead."""

    def hangs_up() -> None:
        world.workers[0].hung_up = True

    code = world.run((1,), world.all_ready, hangs_up, *stop(world))

    assert code == 0
    assert world.supervisor.statistics().deaths == 0


def test_nonsense_from_a_worker_is_logged_and_survived(world: World) -> None:
    def babble() -> None:
        world.workers[0].says.append(Garbage("???"))

    assert world.run((1,), babble, world.all_ready, *stop(world)) == 0
    assert world.logged(logging.WARNING) == ["A worker said nonsense"]


def test_broken_hooks_do_not_break_the_supervisor(world: World) -> None:
    def dies_in_flight() -> None:
        world.workers[0].ledger.begin(Invocation(request_id="r"))
        world.dies(0)

    world.broken_hooks = True

    code = world.run((1,), world.all_ready, dies_in_flight, *stop(world))

    assert code == 0
    assert world.supervisor.statistics().answered == 0
    assert len(world.workers) == 2


def test_a_lost_exit_status_is_a_death_like_any_other(world: World) -> None:
    world.run((1,), world.all_ready, lambda: world.dies(0, None), *stop(world))

    assert any("collected its exit status" in it for it in world.logged(logging.ERROR))
    assert len(world.workers) == 2


def test_a_failure_of_our_own_leaves_no_worker_behind(world: World) -> None:
    def breaks() -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        world.run((1, 1), world.all_ready, breaks)

    assert all(worker.killed and worker.closed for worker in world.workers)
    assert world.restored
