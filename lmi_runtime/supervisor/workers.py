"""Worker processes: fork one, talk to it, collect it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn, Protocol

from lmi_runtime.supervisor.ledger import SharedLedger
from lmi_runtime.supervisor.link import Message, MessageDecoder, Order, WorkerLink

__all__ = ["Body", "ForkSpawner", "ForkedWorker", "Spawner", "Worker"]

Body = Callable[[WorkerLink], int]
"""What a worker does with its life; returns its exit code."""

_PR_SET_PDEATHSIG = 1
_UNCAUGHT = 1


class Worker(Protocol):
    """A worker process as the supervisor sees it."""

    @property
    def pid(self) -> int:
        """Process id."""
        ...

    @property
    def ledger(self) -> SharedLedger:
        """What the worker has in flight."""
        ...

    def fileno(self) -> int:
        """Readable when `receive` has something to say."""
        ...

    def send(self, order: Order) -> None:
        """Pass `order` on; a worker that cannot be reached is found out elsewhere."""
        ...

    def receive(self) -> tuple[list[Message], bool]:
        """What the worker said since the last call, and whether it may say more."""
        ...

    def kill(self) -> None:
        """End it now."""
        ...

    def close(self) -> None:
        """Let go of everything this process holds of it."""
        ...


class Spawner(Protocol):
    """Makes workers and notices their end."""

    def spawn(self, index: int, slots: int, *, leave_to_child: Callable[[], None]) -> Worker:
        """
        Start a worker.

        Args:
            index: Its slot.
            slots: Invocations it may serve at once.
            leave_to_child: Called in the child: undo and close what is the supervisor's alone.

        Raises:
            OSError: There is no room for another process.
        """
        ...

    def reap(self, pids: Iterable[int]) -> Iterator[tuple[int, int | None]]:
        """Those of `pids` that have ended, with their wait status (None when it was lost)."""
        ...


class ForkedWorker:
    """A child process. Thread safety: the supervisor's only thread."""

    def __init__(self, pid: int, sock: socket.socket, ledger: SharedLedger) -> None:
        sock.setblocking(False)
        self._pid = pid
        self._sock = sock
        self._ledger = ledger
        self._decoder = MessageDecoder()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._pid

    @property
    def ledger(self) -> SharedLedger:
        """What the worker has in flight."""
        return self._ledger

    def fileno(self) -> int:
        """Readable when `receive` has something to say."""
        return self._sock.fileno()

    def send(self, order: Order) -> None:
        """Pass `order` on; a worker that cannot be reached is found out elsewhere."""
        with contextlib.suppress(OSError):
            self._sock.send(order.value)

    def receive(self) -> tuple[list[Message], bool]:
        """What the worker said since the last call, and whether it may say more."""
        messages: list[Message] = []
        try:
            while data := self._sock.recv(65536):
                messages.extend(self._decoder.feed(data))
        except BlockingIOError:
            return messages, True
        except OSError:
            pass
        return messages, False

    def kill(self) -> None:
        """End it now."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def close(self) -> None:
        """Let go of everything this process holds of it."""
        self._sock.close()
        self._ledger.close()


class ForkSpawner:
    """
    Makes workers by forking this process, which therefore must have one thread only.

    The children stay in the parent's process group, so that the platform's signals reach all.
    """

    def __init__(self, body: Body, *, ledger_capacity: Callable[[int], int]) -> None:
        """
        Args:
            body: Runs in the child.
            ledger_capacity: Records to make for a worker with so many slots.
        """
        self._body = body
        self._ledger_capacity = ledger_capacity
        # Looked up once and before any fork, so that the children share it.
        self._die_with_parent = _parent_death_signal()

    def spawn(self, index: int, slots: int, *, leave_to_child: Callable[[], None]) -> Worker:
        """Start a worker; see `Spawner.spawn`."""
        ledger = SharedLedger(self._ledger_capacity(slots))
        ours, theirs = socket.socketpair()
        parent_pid = os.getpid()
        # What is buffered now would be written once by each process.
        _flush()
        # No handler may run in the child before its own are in place: it would write into the
        # wake-up socket it still shares with us, and we would take its signal for ours.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                link = WorkerLink(theirs, index=index, slots=slots, ledger=ledger)
                self._become(link, ours, parent_pid, mask, leave_to_child)
        except OSError:
            ours.close()
            ledger.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            theirs.close()
        return ForkedWorker(pid, ours, ledger)

    def _become(
        self,
        link: WorkerLink,
        parents_end: socket.socket,
        parent_pid: int,
        mask: Iterable[int],
        leave_to_child: Callable[[], None],
    ) -> NoReturn:
        """Be the worker. Nothing may unwind from here into the supervisor's frames."""
        try:
            self._die_with_parent(parent_pid)
            leave_to_child()
            # While any process holds the parent's end, the link would not end with the parent.
            parents_end.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            _reseed()
            code = self._body(link)
            _flush()
            os._exit(code & 0xFF)
        except BaseException as error:
            _leave(error)

    def reap(self, pids: Iterable[int]) -> Iterator[tuple[int, int | None]]:
        """Those of `pids` that have ended, with their wait status (None when it was lost)."""
        if os.getpid() == 1:
            # The first process of a container inherits every orphan there; nobody else will
            # collect them.
            return _reap_everything(set(pids))
        # By name: a child that a hook or the user's module started is not ours to collect.
        return _reap_known(pids)


def _reap_known(pids: Iterable[int]) -> Iterator[tuple[int, int | None]]:
    for pid in pids:
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            yield pid, None
        else:
            if ended:
                yield pid, status


def _reap_everything(pids: set[int]) -> Iterator[tuple[int, int | None]]:
    with contextlib.suppress(ChildProcessError):
        while True:
            ended, status = os.waitpid(-1, os.WNOHANG)
            if not ended:
                return
            if ended in pids:
                yield ended, status


def _leave(error: BaseException) -> NoReturn:
    """Leave without a trace of the parent: no atexit, no unwinding."""
    code = _UNCAUGHT
    try:
        if isinstance(error, SystemExit):
            code = _system_exit_code(error)
        else:
            traceback.print_exception(error)
        _flush()
    finally:
        os._exit(code)


def _system_exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else _UNCAUGHT


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # A stream may be None, closed, or lead to nobody.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.flush()


def _reseed() -> None:
    """
    Give the child its own random numbers; siblings would otherwise draw the same.

    Python's `random` does so by itself after a fork; NumPy's global generator does not.
    """
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def _parent_death_signal() -> Callable[[int], None]:
    """
    How a child asks to be killed when its parent dies; takes the parent's pid.

    Elsewhere than on Linux a worker learns it from the end of its link only.
    """
    if sys.platform != "linux":
        return lambda _parent_pid: None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]

    def ask(parent_pid: int) -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent_pid:
            # It died before we could ask.
            os._exit(_UNCAUGHT)

    return ask
