"""Forks while other threads use the pool."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from typing import Any

from stress.bench.contest.worker import Reading
from stress.bench.pooling.thread_pools import THREAD_POOLS, ThreadPool
from stress.bench.pooling.wire import Wire

__all__ = ["forks"]

_THREADS = 8
_CONNECTIONS = 4
_PATIENCE_S = 4.0
_TIMEOUT_S = 2.0
_OWN, _PARENTS, _ERROR = b"o", b"p", b"e"
_GOODBYE = b"g"


def forks(contender: str, count: int) -> Reading:
    """Children that lease once each, while eight threads of the parent lease all the time."""
    wire = Wire()
    pool = THREAD_POOLS[contender](_CONNECTIONS, wire, _TIMEOUT_S)
    stop = threading.Event()
    threads = [
        threading.Thread(target=_use, args=(pool, stop), daemon=True) for _ in range(_THREADS)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    children = []
    for _ in range(count):
        children.append(_fork(pool, wire))
        time.sleep(0.005)
    answers = _collect(children)
    stop.set()
    for thread in threads:
        thread.join(timeout=5.0)
    return Reading(
        {
            "forks": count,
            "own": sum(_OWN in answer for answer in answers),
            "parents": sum(_PARENTS in answer for answer in answers),
            "errors": sum(_ERROR in answer for answer in answers),
            "hung": sum(not answer for answer in answers),
            "goodbyes": sum(_GOODBYE in answer for answer in answers),
            "stuck": sum(thread.is_alive() for thread in threads),
        }
    )


def _use(pool: ThreadPool, stop: threading.Event) -> None:
    while not stop.is_set():
        pool.hold(lambda connection: time.sleep(0.0005))


def _fork(pool: ThreadPool, wire: Wire) -> tuple[int, int]:
    receiver, sender = os.pipe()
    pid = os.fork()
    if pid:
        os.close(sender)
        return pid, receiver
    try:
        answer = _lease_in_child(pool)
        said = answer + (_GOODBYE if wire.goodbyes else b"")
        os.write(sender, said)
    finally:
        os._exit(0)


def _lease_in_child(pool: ThreadPool) -> bytes:
    pids: list[int] = []

    def look(connection: Any) -> None:
        pids.append(connection.pid)

    try:
        pool.hold(look)
    except Exception:
        return _ERROR
    return _OWN if pids == [os.getpid()] else _PARENTS


def _collect(children: list[tuple[int, int]]) -> list[bytes]:
    """Wait for the answers of all; who has given none by then hangs, and is ended."""
    until_s = time.monotonic() + _PATIENCE_S
    answers = []
    for pid, receiver in children:
        left_s = max(0.0, until_s - time.monotonic())
        readable, _, _ = select.select([receiver], [], [], left_s)
        answers.append(os.read(receiver, 16) if readable else b"")
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(receiver)
    return answers
