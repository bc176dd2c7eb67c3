"""
A program that supervises workers and says on stdout, one JSON line each, what happens.

Run by the tests in a process of its own, so that pytest, which may have threads, never forks.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from lmi_runtime.model import Failure, Invocation, Mode
from lmi_runtime.supervisor import (
    EXIT_UNREACHABLE,
    InFlight,
    Order,
    RestartRules,
    Supervisor,
    WorkerLink,
    WorkerPlan,
    workers,
)


def say(**facts: object) -> None:
    """Write one line at once, so that lines of several processes never mix."""
    os.write(1, json.dumps(facts).encode() + b"\n")


class Hooks:
    """Say what the supervisor asked for."""

    def __init__(self, event_poll_port: int | None) -> None:
        self._event_poll_port = event_poll_port

    def answer_dead(self, lost: Sequence[InFlight], why: str) -> None:
        say(did="answer_dead", lost=sorted(lost), why=why)

    def report_init_error(self, failure: Failure) -> None:
        say(did="report_init_error", type=failure.error_type, message=failure.message)

    def open_event_poll(self) -> socket.socket | None:
        if self._event_poll_port is None:
            return None
        return socket.create_connection(("127.0.0.1", self._event_poll_port))

    def log(self, level: int, message: str, **fields: object) -> None:
        say(did="log", level=level, message=message, fields=fields)


def serve(link: WorkerLink) -> int:
    """Be ready, note one delivery per slot, one of them answered, and wait for the end."""
    link.send_ready()
    while (order := link.wait_order(timeout_s=30)) is Order.GO:
        answered = link.ledger.begin(Invocation(request_id="answered", invocation_id="a"))
        for number in range(link.slots):
            name = f"r{link.index}.{number}"
            link.ledger.begin(Invocation(request_id=name, invocation_id=f"i-{name}"))
        link.ledger.end(answered)
        say(did="serve", slot=link.index, pid=os.getpid(), pgid=os.getpgrp())
    say(did="ordered", slot=link.index, order=order.name if order else None)
    return 0


def crash(link: WorkerLink) -> int:
    os.kill(os.getpid(), signal.SIGSEGV)
    return 0


def fail_init(link: WorkerLink) -> int:
    link.send_init_failed(Failure("Runtime.ImportModuleError", "ImportError", "no module x"))
    return 1


def fail_one_init(link: WorkerLink) -> int:
    return fail_init(link) if link.index == 1 else serve(link)


def deaf(link: WorkerLink) -> int:
    """Serve, but never look at an order again."""
    link.send_ready()
    link.wait_order()
    say(did="serve", slot=link.index, pid=os.getpid(), pgid=os.getpgrp())
    time.sleep(60)
    return 0


def never_ready(link: WorkerLink) -> int:
    say(did="import", pid=os.getpid())
    time.sleep(60)
    return 0


def raise_something(link: WorkerLink) -> int:
    raise RuntimeError("nobody caught this")


def leave_with_sys_exit(link: WorkerLink) -> int:
    sys.exit(7)


def unreachable(link: WorkerLink) -> int:
    if link.index == 1:
        return serve(link)
    link.send_ready()
    link.wait_order()
    return EXIT_UNREACHABLE


def describe(link: WorkerLink) -> int:
    """Say what a worker has inherited."""
    link.send_ready()
    link.wait_order()
    say(
        did="describe",
        slot=link.index,
        random=random.random(),
        sigterm=str(signal.getsignal(signal.SIGTERM)),
        sigchld=str(signal.getsignal(signal.SIGCHLD)),
        blocked=len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        wakeup_fd=signal.set_wakeup_fd(-1),
        sockets=sum(_is_socket(int(fd)) for fd in os.listdir("/proc/self/fd")),
    )
    link.wait_order()
    return 0


def _is_socket(fd: int) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
    except OSError:
        return False


class FakeNumpyRandom(ModuleType):
    """Says who seeds it."""

    def seed(self) -> None:
        say(did="seed", pid=os.getpid())


def own_sigterm(_number: int, _frame: object) -> None:
    """What a user's module may have installed while it was imported."""


def orphan(link: WorkerLink) -> int:
    """Leave a dead process behind whose parent has gone, and see whether anybody collects it."""
    reader, writer = os.pipe()
    between = os.fork()
    if between == 0:
        lost = os.fork()
        os.write(writer, str(lost).encode()) if lost else None
        os._exit(0)
    os.waitpid(between, 0)
    lost = int(os.read(reader, 32))
    give_up_s = time.monotonic() + 10
    while exists(lost) and time.monotonic() < give_up_s:
        time.sleep(0.002)
    say(did="orphan", collected=not exists(lost), supervisor=os.getppid())
    return serve(link)


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


BODIES: dict[str, Callable[[WorkerLink], int]] = {
    body.__name__: body
    for body in (
        serve,
        crash,
        fail_init,
        fail_one_init,
        deaf,
        never_ready,
        raise_something,
        leave_with_sys_exit,
        unreachable,
        describe,
        orphan,
    )
}


def main(options: dict[str, Any]) -> int:
    # A fork with threads warns since 3.12; here that would be an error, and the test fails.
    warnings.simplefilter("error")
    print("written before the fork, and only once")
    if options.get("fake_numpy"):
        sys.modules["numpy.random"] = FakeNumpyRandom("numpy.random")
    if options.get("own_sigterm"):
        signal.signal(signal.SIGTERM, own_sigterm)
    if not options.get("kernel_help", True):
        # As on every system but Linux.
        workers._parent_death_signal = lambda: lambda _parent_pid: None
    hooks = Hooks(options.get("event_poll_port"))
    supervisor = Supervisor(
        WorkerPlan(tuple(options["workers"]), Mode.ASYNC),
        BODIES[options["body"]],
        hooks,
        rules=RestartRules(**options.get("rules", {})),
    )
    code = supervisor.run()
    statistics = supervisor.statistics()
    tasks = Path("/proc/self/task")
    say(
        did="end",
        code=code,
        deaths=statistics.deaths,
        spawned=statistics.spawned,
        threads=len(list(tasks.iterdir())) if tasks.is_dir() else None,
    )
    return code


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
