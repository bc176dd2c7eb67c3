"""What an import may leave behind, and what a fork would break."""

from __future__ import annotations

import os
import select
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from lmi_runtime import _sync
from lmi_runtime.supervisor import preload
from lmi_runtime.supervisor.preload import (
    PRELOAD_VARIABLE,
    Footprint,
    judge_preload,
    plan_reexec,
    preload_allowed,
    take_footprint,
)

NOTHING = Footprint(1, 1, frozenset())


@contextmanager
def a_thread() -> Iterator[None]:
    leave = _sync.Event()
    thread = _sync.spawn(lambda: leave.wait(), name="left behind")
    yield
    leave.set()
    thread.join()


@contextmanager
def a_socket() -> Iterator[None]:
    with socket.socket():
        yield


@contextmanager
def a_bound_udp_socket() -> Iterator[None]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        yield


@contextmanager
def a_connected_udp_socket() -> Iterator[None]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.connect(("127.0.0.1", 9))
        yield


@contextmanager
def an_emitter() -> Iterator[None]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM):
        yield


@contextmanager
def a_pipe() -> Iterator[None]:
    ends = os.pipe()
    yield
    for end in ends:
        os.close(end)


@contextmanager
def a_file() -> Iterator[None]:
    with open(__file__, encoding="utf-8"):
        yield


@contextmanager
def an_epoll_set() -> Iterator[None]:
    with select.epoll():
        yield


@contextmanager
def an_eventfd() -> Iterator[None]:
    fd = os.eventfd(0)
    yield
    os.close(fd)


linux = pytest.mark.skipif(sys.platform != "linux", reason="not run: Linux shows it only")


@pytest.mark.parametrize(
    ("leftover", "words"),
    [
        (a_thread, "1 running thread"),
        (a_socket, "1 open socket"),
        (a_bound_udp_socket, "1 open socket"),
        (a_connected_udp_socket, "1 open socket"),
        (a_pipe, "2 open pipes"),
        pytest.param(an_epoll_set, "1 open epoll set", marks=linux),
        pytest.param(an_eventfd, "1 open eventfd", marks=linux),
    ],
)
def test_what_a_fork_would_break_is_found_and_named(
    leftover: Callable[[], AbstractContextManager[None]], words: str
) -> None:
    before = take_footprint(settle_s=0)
    with leftover():
        verdict = judge_preload("app.handler", before, take_footprint(settle_s=0))

    assert not verdict.safe
    assert f"Importing app.handler left {words} behind" in verdict.reason


def test_an_import_that_leaves_only_files_and_dead_threads_is_safe() -> None:
    before = take_footprint()
    with a_thread(), a_socket(), a_pipe():
        pass
    with a_file(), an_emitter():
        verdict = judge_preload("app", before, take_footprint())

    assert verdict.safe
    assert verdict.reason == ""


def test_what_was_there_before_the_import_is_not_held_against_it() -> None:
    with a_thread(), a_socket():
        before = take_footprint(settle_s=0)
        assert judge_preload("app", before, take_footprint(settle_s=0)).safe


def test_a_thread_the_kernel_has_not_let_go_of_yet_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`join` returns a moment before the kernel's list is one shorter."""
    python = _sync.thread_count()
    listed = iter([python + 1, python + 1, python])
    monkeypatch.setattr(preload, "_native_threads", lambda: next(listed))

    assert take_footprint(settle_s=5.0).native_threads == python


def test_a_native_thread_that_stays_is_waited_for_only_so_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    python = _sync.thread_count()
    monkeypatch.setattr(preload, "_native_threads", lambda: python + 4)

    assert take_footprint(settle_s=0.002).native_threads == python + 4


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (Footprint(3, 3, frozenset()), "2 running threads behind"),
        (Footprint(1, 9, frozenset()), "8 threads of native code behind"),
        (Footprint(1, 2, frozenset()), "1 thread of native code behind"),
        (Footprint(3, None, frozenset()), "2 running threads behind"),
        (
            Footprint(2, 2, frozenset({("socket", "5"), ("socket", "6"), ("pipe", "7")})),
            "1 running thread, 1 open pipe and 2 open sockets behind",
        ),
    ],
)
def test_the_reason_is_a_sentence(after: Footprint, words: str) -> None:
    assert words in judge_preload("app", NOTHING, after).reason


@pytest.mark.parametrize(
    "after", [NOTHING, Footprint(1, None, frozenset()), Footprint(1, 0, frozenset())]
)
def test_nothing_new_is_safe(after: Footprint) -> None:
    assert judge_preload("app", NOTHING, after).safe


def test_the_program_starts_again_with_its_own_command_line() -> None:
    it = plan_reexec(
        {"A": "1"}, executable="/usr/bin/python3", argv=["python", "-X", "dev", "-m", "app"]
    )

    assert it.executable == "/usr/bin/python3"
    assert it.argv == ("/usr/bin/python3", "-X", "dev", "-m", "app")
    assert it.env == {"A": "1", PRELOAD_VARIABLE: "0"}
    assert not preload_allowed(it.env)
    assert plan_reexec({}).argv[1:] == tuple(sys.orig_argv[1:])


@pytest.mark.parametrize(("value", "allowed"), [("0", False), (" 0 ", False), ("1", True)])
def test_preloading_can_be_ruled_out(value: str, allowed: bool) -> None:
    assert preload_allowed({PRELOAD_VARIABLE: value}) is allowed
    assert preload_allowed({})
