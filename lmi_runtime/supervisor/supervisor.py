"""
The supervising process: one thread, no event loop, so that it may fork at any moment.

It waits in one `select` for signals, for its workers and for the platform; what to do about them
is decided by `Fleet`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random as random_module
import selectors
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from lmi_runtime import _sync
from lmi_runtime.model import Failure
from lmi_runtime.model.ports import Clock
from lmi_runtime.supervisor.exits import explain_exit
from lmi_runtime.supervisor.fleet import (
    Action,
    Drain,
    Exit,
    Fleet,
    Kill,
    Phase,
    Release,
    ReportInitError,
    Spawn,
)
from lmi_runtime.supervisor.ledger import InFlight, LedgerReading
from lmi_runtime.supervisor.link import Garbage, InitFailed, Message, Order, Ready
from lmi_runtime.supervisor.policy import EXIT_UNREACHABLE, RestartRules
from lmi_runtime.supervisor.shares import WorkerPlan
from lmi_runtime.supervisor.signals import SignalSource, SignalWakeup
from lmi_runtime.supervisor.workers import Body, ForkSpawner, Spawner, Worker

__all__ = ["Supervisor", "SupervisorHooks", "SupervisorStatistics", "ledger_capacity"]


class SupervisorHooks(Protocol):
    """
    What the supervisor needs of the rest. Called on its only thread: be quick, start no thread.

    An exception from a hook is logged and goes no further.
    """

    def answer_dead(self, lost: Sequence[InFlight], why: str) -> None:
        """Answer `lost` in place of a worker that died; `why` completes "the worker ..."."""
        ...

    def report_init_error(self, failure: Failure) -> None:
        """Tell the platform that this environment cannot start. Called at most once."""
        ...

    def open_event_poll(self) -> socket.socket | None:
        """
        Ask the platform for signals and return the poll's connection, or None.

        Its end, without an answer before, means that the environment is shutting down.
        """
        ...

    def log(self, level: int, message: str, **fields: object) -> None:
        """Write one log line."""
        ...


@dataclass(frozen=True, slots=True)
class SupervisorStatistics:
    """
    One reading of the supervisor.

    Attributes:
        phases: How many slots are in each phase.
        released: True once workers may poll.
        spawned: Workers started so far.
        spawn_failures: Times the system refused another process.
        deaths: Workers that ended without being asked to.
        answered: Invocations that were answered for dead workers.
        unanswered: Invocations that died with a worker and could not be answered: in flight at
            shutdown, or never noted in the ledger.
    """

    phases: dict[Phase, int]
    released: bool
    spawned: int
    spawn_failures: int
    deaths: int
    answered: int
    unanswered: int


def ledger_capacity(slots: int) -> int:
    """
    Records for a worker with so many slots.

    More than there are slots: an invocation that overran its deadline is in flight beside its
    successor, and the platform may send more than was agreed.
    """
    return 2 * slots + 16


class Supervisor:
    """
    Starts the workers of a plan, replaces the dead, stops them all.

    Thread safety: the main thread of a process that has no other.
    """

    def __init__(
        self,
        plan: WorkerPlan,
        body: Body,
        hooks: SupervisorHooks,
        *,
        rules: RestartRules | None = None,
        spawner: Spawner | None = None,
        signals: Callable[[], SignalSource] = SignalWakeup,
        selector: selectors.BaseSelector | None = None,
        clock: Clock = _sync.monotonic,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        """
        Args:
            plan: How many workers, with how many slots each.
            body: What a worker does; runs in the child and returns its exit code.
            hooks: See `SupervisorHooks`.
            rules: Restart and shutdown rules.
            spawner: Makes the workers; by default `os.fork` does.
            signals: Makes the source of signals when `run` begins.
            selector: Waits. By default `poll`, because an epoll or kqueue descriptor would be
                shared with, or lost in, every child.
            clock: Monotonic seconds.
            random: For the jitter of the backoff.
        """
        self._plan = plan
        self._hooks = hooks
        self._spawner = spawner or ForkSpawner(body, ledger_capacity=ledger_capacity)
        self._make_signals = signals
        self._selector = selector or selectors.PollSelector()
        self._clock = clock
        self._fleet = Fleet(len(plan.workers), rules or RestartRules(), random)
        # All below: the supervisor's only thread.
        self._workers: dict[int, Worker] = {}
        self._signals: SignalSource | None = None
        self._event_poll: socket.socket | None = None
        self._exit_code: int | None = None
        self._spawned = self._spawn_failures = self._deaths = 0
        self._answered = self._unanswered = 0

    def run(self) -> int:
        """Supervise until the end; returns the exit code for this process."""
        self._signals = self._make_signals()
        try:
            self._selector.register(self._signals.reader, selectors.EVENT_READ, self._on_signal)
            self._watch_event_poll()
            self._carry_out(self._fleet.tick(self._clock()))
            while self._exit_code is None:
                self._wait()
            return self._exit_code
        finally:
            self._abandon()

    def statistics(self) -> SupervisorStatistics:
        """One reading."""
        phases = [self._fleet.phase(slot) for slot in range(len(self._plan.workers))]
        return SupervisorStatistics(
            phases={phase: phases.count(phase) for phase in Phase},
            released=self._fleet.released,
            spawned=self._spawned,
            spawn_failures=self._spawn_failures,
            deaths=self._deaths,
            answered=self._answered,
            unanswered=self._unanswered,
        )

    def _wait(self) -> None:
        wake_s = self._fleet.wake_s()
        timeout_s = None if wake_s is None else max(0.0, wake_s - self._clock())
        for key, _ in self._selector.select(timeout_s):
            key.data()
        self._carry_out(self._fleet.tick(self._clock()))

    def _carry_out(self, actions: Iterable[Action]) -> None:
        todo = deque(actions)
        while todo:
            todo.extend(self._do(todo.popleft()))

    def _do(self, action: Action) -> Iterable[Action]:
        match action:
            case Spawn(slot):
                return self._spawn(slot)
            case Release(slot):
                self._send(slot, Order.GO)
            case Drain(slot):
                self._send(slot, Order.DRAIN)
            case Kill(slot):
                if slot in self._workers:
                    self._workers[slot].kill()
            case ReportInitError(failure):
                self._log(logging.ERROR, "The environment cannot start", reason=failure.message)
                self._call(partial(self._hooks.report_init_error, failure))
            case Exit(code):
                self._exit_code = code
        return ()

    def _send(self, slot: int, order: Order) -> None:
        # There may be none: the fleet hears of a death only once the dead one is answered for.
        if slot in self._workers:
            self._workers[slot].send(order)

    def _spawn(self, slot: int) -> Iterable[Action]:
        try:
            worker = self._spawner.spawn(
                slot, self._plan.workers[slot], leave_to_child=self._leave_to_child
            )
        except OSError as error:
            self._spawn_failures += 1
            self._log(logging.ERROR, "A worker could not be started", slot=slot, reason=str(error))
            why = f"could not be started ({error})"
            return self._fleet.died(slot, self._clock(), why, answered=self._answering())
        self._spawned += 1
        self._workers[slot] = worker
        self._selector.register(worker, selectors.EVENT_READ, partial(self._on_message, slot))
        self._log(logging.DEBUG, "A worker has started", slot=slot, pid=worker.pid)
        return ()

    def _leave_to_child(self) -> None:
        """Runs in the child: close and undo what belongs to the supervisor."""
        if self._signals is not None:
            self._signals.leave_to_child()
        if self._event_poll is not None:
            self._event_poll.close()
        for sibling in self._workers.values():
            sibling.close()

    def _on_signal(self) -> None:
        arrived = self._signals.take() if self._signals is not None else frozenset()
        # First, so that a worker which the same signal ended is not taken for a casualty.
        if arrived & {signal.SIGTERM, signal.SIGINT}:
            self._stop("a signal")
        if signal.SIGCHLD in arrived:
            self._reap()

    def _stop(self, cause: str) -> None:
        if not self._fleet.ending:
            self._log(logging.INFO, "Stopping all workers", cause=cause)
        self._carry_out(self._fleet.stop(self._clock()))

    def _on_message(self, slot: int) -> None:
        worker = self._workers.get(slot)
        if worker is None:
            # It was collected earlier in this round.
            return
        messages, more = worker.receive()
        if not more:
            # It closed its end; whether it is dead, only the system knows.
            self._selector.unregister(worker)
        for message in messages:
            self._hear(slot, message)
        if not more:
            self._reap()

    def _hear(self, slot: int, message: Message) -> None:
        match message:
            case Ready():
                self._carry_out(self._fleet.ready(slot, self._clock()))
            case InitFailed(failure):
                self._log(
                    logging.ERROR,
                    "A worker could not prepare the handler",
                    slot=slot,
                    errorType=failure.error_type,
                    reason=failure.message,
                )
                self._carry_out(self._fleet.init_failed(slot, failure, self._clock()))
            case Garbage(text):
                self._log(logging.WARNING, "A worker said nonsense", slot=slot, text=text)

    def _reap(self) -> None:
        slots = {worker.pid: slot for slot, worker in self._workers.items()}
        for pid, status in list(self._spawner.reap(slots)):
            self._bury(slots[pid], status)

    def _bury(self, slot: int, status: int | None) -> None:
        answering = self._answering()
        # Removed first: its pid is free from now on, and must not be signalled any more.
        worker = self._workers.pop(slot)
        with contextlib.suppress(KeyError):
            self._selector.unregister(worker)
        # What it said last, such as why its init failed, may not have been read yet.
        for message in worker.receive()[0]:
            self._hear(slot, message)
        if status is not None and os.waitstatus_to_exitcode(status) == EXIT_UNREACHABLE:
            self._carry_out(self._fleet.unreachable(self._clock()))
        why = explain_exit(status)
        self._settle(slot, worker.pid, worker.ledger.read(), why)
        worker.close()
        self._carry_out(self._fleet.died(slot, self._clock(), why, answered=answering))

    def _settle(self, slot: int, pid: int, reading: LedgerReading, why: str) -> None:
        """Answer for the dead, unless the platform has taken its callers away already."""
        lost = reading.in_flight
        beyond_help = reading.unmirrored + reading.torn
        if self._fleet.ending:
            self._unanswered += len(lost) + beyond_help
            return
        self._deaths += 1
        self._unanswered += beyond_help
        self._log(
            logging.ERROR,
            f"A worker {why}",
            slot=slot,
            pid=pid,
            inFlight=len(lost),
            notRecorded=beyond_help,
        )
        if lost and self._call(partial(self._hooks.answer_dead, lost, why)):
            self._answered += len(lost)

    def _answering(self) -> frozenset[int]:
        return frozenset(s for s, worker in self._workers.items() if worker.ledger.answered_any)

    def _watch_event_poll(self) -> None:
        opened: list[socket.socket | None] = []
        if self._call(lambda: opened.append(self._hooks.open_event_poll())) and opened[0]:
            self._event_poll = opened[0]
            self._event_poll.setblocking(False)
            self._selector.register(self._event_poll, selectors.EVENT_READ, self._on_event_poll)

    def _on_event_poll(self) -> None:
        if self._event_poll is None:
            return
        try:
            answer = self._event_poll.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            answer = b""
        self._selector.unregister(self._event_poll)
        self._event_poll.close()
        self._event_poll = None
        if answer:
            # A refusal is no reason to stop serving; the signal may come all the same.
            text = answer[:80].decode("ascii", "backslashreplace")
            self._log(logging.WARNING, "The platform answered the event poll", answer=text)
        else:
            self._stop("the platform hung up")

    def _abandon(self) -> None:
        """Leave nothing behind, also after an exception: a worker without us is worth nothing."""
        for worker in self._workers.values():
            worker.kill()
            worker.close()
        self._workers.clear()
        if self._event_poll is not None:
            self._event_poll.close()
        if self._signals is not None:
            self._signals.restore()
        self._selector.close()

    def _call(self, hook: Callable[[], object]) -> bool:
        try:
            hook()
        except Exception as error:
            self._log(logging.ERROR, "A supervisor hook failed", reason=repr(error))
            return False
        return True

    def _log(self, level: int, message: str, **fields: object) -> None:
        # Somebody else's log handler must not take the supervisor down.
        with contextlib.suppress(Exception):
            self._hooks.log(level, message, **fields)
