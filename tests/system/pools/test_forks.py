"""Children of a process that leases in many threads lease, too, and never touch what is open."""

from __future__ import annotations

import itertools
import json
import socketserver
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE_S

pytestmark = [pytest.mark.system, pytest.mark.slow]

REPOSITORY = Path(__file__).resolve().parents[3]

STORM = r"""
import faulthandler, json, os, signal, socket, sys, threading, time, warnings

warnings.simplefilter("ignore", DeprecationWarning)  # forks beside threads are what this is about
# A child waits for ever for a module that another thread was importing at the fork, such as the
# one that every first look-up of a host imports.
import encodings.idna
from lmi_runtime import Pool
from tests.support.patience import PATIENCE_S

port, forks = map(int, sys.argv[1:])


class Connection:
    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self.say("hello")

    def say(self, word):
        self.socket.sendall(f"{os.getpid()} {word}\n".encode())
        if word != "bye":
            assert self.socket.recv(3) == b"ok\n", "it was somebody else's answer"

    def __del__(self):
        # As drivers do: psycopg's connection says goodbye when it is finalized.
        if self.socket.fileno() >= 0:
            self.close()

    def close(self):
        try:
            self.say("bye")
        except OSError:
            pass
        self.socket.close()


pool = Pool(
    Connection, close=Connection.close, check=lambda c: c.say("check"),
    reset=lambda c: c.say("reset"), max_size=4, bypass_check_s=0.001, timeout_s=PATIENCE_S,
)
stop = threading.Event()
errors = []


def use():
    while not stop.is_set():
        try:
            with pool.lease() as connection:
                connection.say("use")
        except BaseException as error:
            errors.append(repr(error))
            return


def in_child(how):
    signal.alarm(int(2 * PATIENCE_S))  # a child that hangs is killed, and that is seen
    faulthandler.dump_traceback_later(PATIENCE_S, exit=True)
    threads = [threading.Thread(target=three_times) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert pool.statistics().leases == 6, pool.statistics()
    if how == "closes":
        pool.close()


def three_times():
    try:
        for _ in range(3):
            with pool.lease() as connection:
                connection.say("use")
    except BaseException as error:
        errors.append(repr(error))


def fork(how):
    pid = os.fork()
    if pid:
        return pid
    try:
        in_child(how)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(3)
    if how == "exits":
        return 0
    os._exit(0)


def fork_in_a_lease(how):
    # The block ends in the child, too: it gives back what is not its own.
    with pool.lease() as connection:
        connection.say("use")
        pid = fork(how)
    return pid


threads = [threading.Thread(target=use, daemon=True) for _ in range(8)]
for thread in threads:
    thread.start()
statuses = []
for number in range(forks):
    how = ("closes", "vanishes", "exits")[number % 3]
    pid = fork_in_a_lease(how) if number % 2 else fork(how)
    if pid == 0:
        sys.exit(0)  # through the whole end of an interpreter
    statuses.append(os.waitpid(pid, 0)[1])
stop.set()
for thread in threads:
    thread.join(PATIENCE_S)
alive = sum(thread.is_alive() for thread in threads)
pool.close(PATIENCE_S)
facts = pool.statistics()
print(json.dumps({"statuses": statuses, "errors": errors, "alive": alive, "open": facts.open,
                  "opened": facts.opened, "leases": facts.leases}))
"""


class Listener(socketserver.ThreadingTCPServer):
    """Notes which process said what over which connection."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Talk)
        self.said: dict[int, list[tuple[int, str]]] = defaultdict(list)
        self.lock = threading.Lock()
        self.numbers = itertools.count()


class Talk(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server = self.server
        assert isinstance(server, Listener)
        number = next(server.numbers)
        while line := self.rfile.readline():
            pid, word = line.split()
            with server.lock:
                server.said[number].append((int(pid), word.decode()))
            if word != b"bye":
                self.wfile.write(b"ok\n")


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(PATIENCE_S)


def test_forty_forks_while_eight_threads_lease(listener: Listener) -> None:
    """Whether a child closes its pool, ends at once, or through the end of its interpreter."""
    port = listener.server_address[1]

    done = subprocess.run(
        [sys.executable, "-c", STORM, str(port), "40"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_S,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["statuses"] == [0] * 40, done.stderr[-4000:]
    assert (report["errors"], report["alive"], report["open"]) == ([], 0, 0)
    with listener.lock:
        conversations = list(listener.said.values())
    for said in conversations:
        speakers = {pid for pid, _ in said}
        assert len(speakers) == 1, f"several processes over one connection: {said[-5:]}"
        words = [word for _, word in said]
        assert "bye" not in words[:-1], f"it was used after a goodbye: {words[-5:]}"
    processes = {said[0][0] for said in conversations if said}
    assert len(processes) == 41, "everybody had connections of their own"
