"""A child opens its own, and never says goodbye over what it inherited."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE_S

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.system

PRELUDE = """
import asyncio, os, signal, sys, threading, traceback, warnings
import anyio
from lmi_runtime import _sync
from lmi_runtime.errors import PoolClosed, WrongKindOfCaller
from lmi_runtime.pools import once, registry
from lmi_runtime.context import set_worker_loop
from lmi_runtime.pools.resources import resource
from tests.support.patience import PATIENCE_S

warnings.simplefilter("ignore")  # forking with threads is what this is about
parent = os.getpid()

def say(*words):
    who = "parent" if os.getpid() == parent else "child"
    os.write(1, (" ".join([who, *map(str, words)]) + "\\n").encode())

class Connection:
    def __init__(self):
        self.pid = os.getpid()
        say("connects")
    def __del__(self, getpid=os.getpid, write=os.write):  # late, when modules are empty
        if self.pid != getpid():
            write(1, b"says goodbye for its parent\\n")

def forked(body):
    '''Run `body` in a child that ends as programs end, and wait for it.'''
    child = os.fork()
    if child == 0:
        signal.alarm(int(PATIENCE_S))  # it must not outlive a parent that was killed
        code = 1
        try:
            body()
            code = 0
        except BaseException:
            traceback.print_exc()
        sys.exit(code)
    _, status = os.waitpid(child, 0)
    say("child ended with", os.waitstatus_to_exitcode(status))
"""


def said(program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_a_child_opens_anew_and_leaves_the_parents_alone() -> None:
    """Also when it ends, and the interpreter finalizes what is left."""
    assert said("""
@resource
def connection():
    opened = Connection()
    try:
        yield opened
    finally:
        opened.__del__()
    say("closes")

@resource
def settings():
    say("loads")
    return os.getpid()

first = connection(), settings()
del first

def body():
    assert not connection.opened
    assert connection().pid == settings() == os.getpid()
    anyio.run(registry.close_everything, PATIENCE_S)

forked(body)
assert connection().pid == parent
anyio.run(registry.close_everything, PATIENCE_S)
""") == [
        "parent connects",
        "parent loads",
        "child connects",
        "child loads",
        "child closes",
        "parent child ended with 0",
        "parent closes",
    ]


LOOP = """
@resource
async def connection():
    opened = Connection()
    yield opened
    await anyio.sleep(0)
    say("closes")

async def ask():
    assert (await connection()).pid == os.getpid()

def body():
    try:
        connection.get()
    except WrongKindOfCaller:
        asyncio.run(ask())
"""

SAID_WITH_LOOP = [
    "parent connects",
    "child connects",
    "child closes",
    "parent child ended with 0",
    "parent closes",
]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_child_that_a_thread_forks_opens_on_a_loop_of_its_own(backend: str) -> None:
    assert (
        said(f"""{LOOP}
def leave():
    body()
    os._exit(0)

async def main():
    set_worker_loop(_sync.current_home())
    await ask()
    await anyio.to_thread.run_sync(forked, leave)
    await ask()

anyio.run(main, backend={backend!r})
""")
        == SAID_WITH_LOOP
    )


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="asyncio cannot be unwound in a child")
def test_a_child_that_unwinds_the_loop_it_came_from_closes_nothing_of_the_parents() -> None:
    """`asyncio.run` cancels all tasks on its way out, also in the child."""
    assert (
        said(f"""{LOOP}
async def main():
    set_worker_loop(_sync.current_home())
    await ask()
    forked(body)
    await ask()

asyncio.run(main())
""")
        == SAID_WITH_LOOP
    )


def test_a_child_does_not_wait_for_an_opening_of_the_parent() -> None:
    """Nor for a lock that a thread held: neither goes on in the child."""
    assert said("""
entered, gate, held = threading.Event(), threading.Event(), threading.Event()

@resource
def thing():
    if os.getpid() == parent:
        entered.set()
        gate.wait(PATIENCE_S)
    return os.getpid()

def hold():
    with once._lock():
        held.set()
        gate.wait(PATIENCE_S)

asks = threading.Thread(target=thing)
asks.start()
entered.wait(PATIENCE_S)
holds = threading.Thread(target=hold)
holds.start()
held.wait(PATIENCE_S)

def body():
    assert thing() == os.getpid()

forked(body)
gate.set()
asks.join()
assert thing() == parent
""") == ["parent child ended with 0"]


def test_what_the_parent_closed_a_child_may_open() -> None:
    assert said("""
@resource
def thing():
    yield os.getpid()

thing()
thing.close()

def body():
    assert thing() == os.getpid()

forked(body)
try:
    thing()
except PoolClosed:
    say("closed")
""") == ["parent child ended with 0", "parent closed"]
