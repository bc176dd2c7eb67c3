"""
A budget among real processes, as somebody sees it who knows nothing of locks.

The witness is a server that every process tells when it begins and ends to use a permit. It is
asked after a permit was taken and before it is given back, so it never counts more than are out.
"""

from __future__ import annotations

import os
import random
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lmi_runtime.pools import Permit
from lmi_runtime.pools.budget import ConnectionBudget
from tests.support.patience import PATIENCE_S
from tests.support.repository import REPOSITORY

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux", reason="SO_PEERCRED is Linux's"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning"),
]

SIZE = 5


class Witness:
    """Counts who uses a permit now, from what they say and from when they die."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Nobody goes on until so many use a permit at once, for the first time.
        self.keep_until = SIZE
        self.using: set[socket.socket] = set()
        self.most = 0
        self.uses = 0
        self._selector = selectors.DefaultSelector()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(100)
        self._selector.register(self._server, selectors.EVENT_READ)

    def serve_until(self, done: Callable[[], bool]) -> None:
        """Listen until `done`, which is asked after everything that happened."""
        end_s = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < end_s, f"{self.uses} uses, {len(self.using)} now"
            # All who left, first: who took over their permits says so afterwards.
            events = [key.fileobj for key, _ in self._selector.select(0.01)]
            begun = [client for client in events if self._heard(client) == b"+"]
            for client in begun:
                self._begins(client)

    def peer(self, client: socket.socket) -> int:
        """The process at the other end."""
        packed = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int.from_bytes(packed[:4], sys.byteorder)

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _begins(self, client: socket.socket) -> None:
        # It holds a permit since before its word arrived; who has died has none.
        for other in list(self.using):
            if self._gone(other):
                self._forget(other)
        self.using.add(client)
        self.uses += 1
        self.most = max(self.most, len(self.using))
        if self.most == self.keep_until:
            for waiting in list(self.using):
                self._answer(waiting)
            self.keep_until = 0
        elif self.most > self.keep_until:
            self._answer(client)

    def _heard(self, client: object) -> bytes:
        assert isinstance(client, socket.socket)
        if client is self._server:
            self._selector.register(client.accept()[0], selectors.EVENT_READ)
            return b""
        word = self._word(client)
        if word == b"-":
            self.using.discard(client)
            self._answer(client)
        elif not word:
            self._forget(client)
        return word

    def _gone(self, client: socket.socket) -> bool:
        try:
            return client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except ConnectionError:
            return True

    def _word(self, client: socket.socket) -> bytes:
        try:
            return client.recv(1)
        except ConnectionError:
            return b""

    def _forget(self, client: socket.socket) -> None:
        self.using.discard(client)
        if client.fileno() >= 0:
            self._selector.unregister(client)
            client.close()

    def _answer(self, client: socket.socket) -> None:
        try:
            client.sendall(b"!")
        except ConnectionError:
            self._forget(client)


class Reporter:
    """What a process tells the witness through: opened before any permit, so closed before."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE_S)
        self._socket.connect(str(path))

    def use(self, permit: Permit) -> None:
        for word in (b"+", b"-"):
            self._socket.sendall(word)
            assert self._socket.recv(1) == b"!"
        permit.release()

    def close(self) -> None:
        self._socket.close()


class Family:
    """Forked processes, none of which outlives the test."""

    def __init__(self) -> None:
        self.alive: set[int] = set()
        self.failed: list[int] = []
        self.signals: dict[int, int] = {}

    def fork(self, body: Callable[[], object]) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                body()
                os._exit(0)
            finally:
                os._exit(1)
        self.alive.add(pid)
        return pid

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.alive.discard(pid)

    def ended(self) -> bool:
        for pid in list(self.alive):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self.alive.discard(pid)
                self.failed += [pid] if os.WIFEXITED(status) and status else []
                self.signals |= {pid: os.WTERMSIG(status)} if os.WIFSIGNALED(status) else {}
        return not self.alive


@pytest.fixture
def family() -> Iterator[Family]:
    made = Family()
    yield made
    for pid in list(made.alive):
        made.kill(pid)


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    made = Witness(tmp_path / "witness")
    yield made
    made.close()


@pytest.fixture
def budget(tmp_path: Path) -> ConnectionBudget:
    return ConnectionBudget(max_connections=SIZE, environments=1, directory=tmp_path / "budgets")


def patient() -> Callable[[], bool]:
    end_s = time.monotonic() + PATIENCE_S
    return lambda: time.monotonic() > end_s


def use_often(budget: ConnectionBudget, path: Path, times: int) -> None:
    reporter, give_up = Reporter(path), patient()
    for _ in range(times):
        permit = budget.acquire(give_up)
        assert permit is not None
        reporter.use(permit)
    reporter.close()


def assert_all_are_free(budget: ConnectionBudget) -> None:
    """Once those who were just answered have given back what they had."""
    end_s = time.monotonic() + PATIENCE_S
    permits = [budget.acquire(lambda: time.monotonic() > end_s) for _ in range(SIZE)]
    assert None not in permits
    assert budget.try_acquire() is None
    for permit in permits:
        if permit is not None:
            permit.release()


@pytest.mark.slow
def test_32_processes_use_all_permits_and_never_more(
    budget: ConnectionBudget, witness: Witness, family: Family
) -> None:
    for _ in range(32):
        family.fork(lambda: use_often(budget, witness.path, 10))

    witness.serve_until(family.ended)

    assert (family.failed, family.signals) == ([], {})
    assert (witness.most, witness.uses) == (SIZE, 320)
    assert_all_are_free(budget)


@pytest.mark.slow
def test_processes_that_are_killed_while_they_hold_or_wait_leave_nothing_behind(
    budget: ConnectionBudget, witness: Witness, family: Family
) -> None:
    """A third of them, holders and others alike, at any time."""
    pids = [family.fork(lambda: use_often(budget, witness.path, 20)) for _ in range(24)]
    dice = random.Random(7)
    doomed = dice.sample(pids, 8)
    holders = 0

    def done() -> bool:
        nonlocal holders
        if doomed and witness.uses > 20 * (8 - len(doomed)):
            using = [witness.peer(client) for client in witness.using]
            pid = next((pid for pid in using if pid in family.alive), doomed[-1])
            doomed.pop()
            holders += pid in using
            if pid in family.alive:
                family.kill(pid)
        return family.ended()

    witness.serve_until(done)

    assert (family.failed, family.signals) == ([], {})  # those killed here are not among them
    assert holders > 0
    assert witness.most == SIZE
    assert_all_are_free(budget)


def test_a_killed_holders_permit_goes_to_who_waits_within_a_second(
    budget: ConnectionBudget, family: Family
) -> None:
    read, write = os.pipe()

    def hold() -> None:
        permits = [budget.try_acquire() for _ in range(SIZE)]
        os.write(write, b"x" if None not in permits else b"?")
        signal.pause()

    pid = family.fork(hold)
    assert os.read(read, 1) == b"x"
    assert budget.acquire(lambda: True) is None
    killed_s: list[float] = []

    def give_up() -> bool:
        # Asked while it waits: only now the holder is killed.
        if not killed_s:
            os.kill(pid, signal.SIGKILL)
            killed_s.append(time.monotonic())
        return time.monotonic() > killed_s[0] + PATIENCE_S

    permit = budget.acquire(give_up)
    took_s = time.monotonic() - killed_s[0]

    assert permit is not None
    assert took_s < 1
    permit.release()
    family.kill(pid)
    os.close(read)
    os.close(write)


@pytest.mark.slow
def test_forks_while_threads_take_and_give_leave_no_permit_in_a_child(
    budget: ConnectionBudget, witness: Witness, family: Family
) -> None:
    """Nor does a child that outlives its parent, which is killed with all permits in hand."""
    go, say_go = os.pipe()

    def child() -> None:
        assert budget.held == 0
        use_often(budget, witness.path, 2)

    def orphan() -> None:
        os.close(say_go)
        os.read(go, 1)

    def body() -> None:
        threads = [
            threading.Thread(target=use_often, args=(budget, witness.path, 40)) for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        children = Family()
        for _ in range(10):
            children.fork(child)
        for thread in threads:
            thread.join(PATIENCE_S)
        while not children.ended():
            time.sleep(0.005)
        assert children.failed == []
        permits = [budget.acquire(patient()) for _ in range(SIZE)]
        assert None not in permits
        children.fork(orphan)
        os.kill(os.getpid(), signal.SIGKILL)

    parent = family.fork(body)
    witness.serve_until(family.ended)

    assert family.signals == {parent: signal.SIGKILL}
    assert witness.uses == 6 * 40 + 20
    assert witness.most <= SIZE
    assert_all_are_free(budget)
    os.close(say_go)
    os.close(go)


def test_a_process_that_ends_with_permits_says_nothing(tmp_path: Path) -> None:
    code = (
        "from lmi_runtime.pools.budget import ConnectionBudget\n"
        f"b = ConnectionBudget(max_connections=2, environments=1, directory={str(tmp_path)!r})\n"
        "p = b.acquire(lambda: False); print(b.held)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
