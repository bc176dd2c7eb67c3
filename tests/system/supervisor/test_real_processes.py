"""The supervisor with real forks, real signals and real deaths."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.support.patience import PATIENCE_S
from tests.system.supervisor.driver import (
    SIGINT,
    SIGKILL,
    SIGTERM,
    Program,
    alive,
    wait_until,
)

pytestmark = pytest.mark.system

Supervise = Callable[..., Program]


def serving(program: Program, workers: int) -> dict[int, int]:
    """Wait until `workers` workers serve; the pid of each slot."""
    lines = [program.until_did("serve") for _ in range(workers)]
    return {line["slot"]: line["pid"] for line in lines}


def test_a_killed_workers_callers_are_answered_and_it_is_replaced(supervise: Supervise) -> None:
    """Exactly what was in flight is answered: nothing finished, nothing of the siblings'."""
    program = supervise(workers=[2, 3], body="serve")
    pids = serving(program, 2)

    os.kill(pids[1], SIGKILL)

    answer = program.until_did("answer_dead")
    assert answer["lost"] == [[f"r1.{n}", f"i-r1.{n}"] for n in range(3)]
    assert "SIGKILL" in answer["why"]
    replacement = program.until_did("serve", slot=1)
    assert replacement["pid"] != pids[1]
    program.signal(SIGTERM)
    assert program.finish() == 0
    assert len(program.did("answer_dead")) == 1


def test_drain_reaches_every_worker_and_ends_with_zero(supervise: Supervise) -> None:
    program = supervise(workers=[1, 1, 1], body="serve")
    pids = serving(program, 3)

    program.signal(SIGTERM)

    assert program.finish() == 0
    orders = program.did("ordered")
    assert {(line["slot"], line["order"]) for line in orders} == {(slot, "DRAIN") for slot in pids}
    assert not program.did("answer_dead")


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
def test_a_signal_to_the_whole_group_ends_nobody_early(supervise: Supervise, number: int) -> None:
    """The platform and a terminal signal the group; workers still get to drain."""
    program = supervise(workers=[1, 1], body="serve")
    pids = serving(program, 2)
    assert {line["pgid"] for line in program.did("serve")} == {program.pid}

    program.signal_group(number)

    assert program.finish() == 0
    assert {line["slot"] for line in program.did("ordered")} == set(pids)
    assert program.did("end")[0]["deaths"] == 0


def test_a_deaf_worker_is_killed_when_the_budget_is_spent(supervise: Supervise) -> None:
    program = supervise(workers=[1, 1], body="deaf", rules={"shutdown_budget_s": 0.2})
    serving(program, 2)

    begin_s = time.monotonic()
    program.signal(SIGTERM)
    program.signal(SIGTERM)

    assert program.finish() == 0
    assert time.monotonic() - begin_s >= 0.2
    assert program.did("end")[0]["deaths"] == 0


def test_workers_end_when_the_supervisor_is_killed(supervise: Supervise) -> None:
    """stdout ends only when the last of them is gone, which is what the platform looks at."""
    program = supervise(workers=[1, 1], body="serve")
    pids = serving(program, 2)

    program.signal(SIGKILL)

    wait_until(lambda: not any(alive(pid) for pid in pids.values()))
    assert program.finish() == -SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="not run: the kernel's help is Linux's")
def test_even_a_blocked_worker_ends_when_the_supervisor_is_killed(supervise: Supervise) -> None:
    program = supervise(workers=[1, 1], body="deaf")
    pids = serving(program, 2)

    program.signal(SIGKILL)

    wait_until(lambda: not any(alive(pid) for pid in pids.values()))


def test_without_the_kernels_help_the_end_of_the_link_ends_a_worker(
    supervise: Supervise,
) -> None:
    """No process but the supervisor holds its end of a link, or this would never come."""
    program = supervise(workers=[1, 1, 1], body="serve", kernel_help=False)
    pids = serving(program, 3)

    program.signal(SIGKILL)

    wait_until(lambda: not any(alive(pid) for pid in pids.values()))
    program.finish()
    assert {line["order"] for line in program.did("ordered")} == {"ORPHANED"}


def test_workers_that_all_crash_at_the_start_are_given_up(supervise: Supervise) -> None:
    program = supervise(workers=[1, 1], body="crash", rules={"backoff_first_s": 0.01})

    assert program.finish() == 1
    (report,) = program.did("report_init_error")
    assert report["type"] == "Runtime.ExitError"
    assert "SIGSEGV" in report["message"]
    # Each slot has three lives. One that dies faster gets more of them, further and further apart,
    # while its sibling still lives its third.
    assert 2 * 3 <= program.did("end")[0]["spawned"] < 20


def test_an_init_failure_is_reported_once(supervise: Supervise) -> None:
    program = supervise(workers=[1, 1, 1], body="fail_init")

    assert program.finish() == 1
    (report,) = program.did("report_init_error")
    assert report == {
        "did": "report_init_error",
        "type": "Runtime.ImportModuleError",
        "message": "no module x",
    }


def test_one_failed_init_ends_the_healthy_siblings_too(supervise: Supervise) -> None:
    """Half an environment would serve at half its strength, and nobody would know."""
    program = supervise(workers=[1, 1, 1], body="fail_one_init")

    assert program.finish() == 1
    assert len(program.did("report_init_error")) == 1
    assert not program.did("serve")


def test_a_worker_that_imports_for_ever_does_not_delay_the_end(supervise: Supervise) -> None:
    program = supervise(workers=[1], body="never_ready", rules={"shutdown_budget_s": 60.0})
    program.until_did("import")

    program.signal(SIGTERM)

    assert program.finish() == 0


@pytest.mark.parametrize(
    ("body", "code"), [("raise_something", "code 1"), ("leave_with_sys_exit", "code 7")]
)
def test_the_log_says_how_a_worker_ended(supervise: Supervise, body: str, code: str) -> None:
    program = supervise(workers=[1], body=body, rules={"backoff_first_s": 0.01})

    assert program.finish() == 1
    assert code in program.did("report_init_error")[0]["message"]


def test_an_unreachable_platform_ends_the_environment_in_order(supervise: Supervise) -> None:
    """The exit code asks for a replacement; the sibling still gets to drain."""
    program = supervise(workers=[1, 1], body="unreachable")

    assert program.finish() == 1
    assert [line["order"] for line in program.did("ordered")] == ["DRAIN"]
    assert not program.did("report_init_error")


def test_the_end_of_the_event_poll_is_a_request_to_stop(supervise: Supervise) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        program = supervise(workers=[1], body="serve", event_poll_port=server.getsockname()[1])
        poll, _ = server.accept()
        serving(program, 1)

        poll.close()

        assert program.finish() == 0


def test_a_refused_event_poll_does_not_stop_the_environment(supervise: Supervise) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        program = supervise(workers=[1], body="serve", event_poll_port=server.getsockname()[1])
        poll, _ = server.accept()
        pids = serving(program, 1)

        poll.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        poll.close()
        program.until_did("log", message="The platform answered the event poll")

        os.kill(pids[0], SIGKILL)
        serving(program, 1)  # it is still in business
        program.signal(SIGTERM)
        assert program.finish() == 0


def test_the_supervisor_has_one_thread_and_forks_without_a_warning(
    supervise: Supervise,
) -> None:
    """Warnings are errors in the program, and so is the one about a fork with threads."""
    program = supervise(workers=[1, 1], body="serve")
    pids = serving(program, 2)
    if sys.platform == "linux":
        assert len(os.listdir(f"/proc/{program.pid}/task")) == 1
    os.kill(pids[0], SIGKILL)
    serving(program, 1)

    program.signal(SIGTERM)

    assert program.finish() == 0
    assert program.did("end")[0]["threads"] in (1, None)


def test_what_was_printed_before_the_fork_is_printed_once(supervise: Supervise) -> None:
    program = supervise(workers=[1, 1], body="serve")
    serving(program, 2)
    program.signal(SIGTERM)

    assert program.finish() == 0
    assert program.text == ["written before the fork, and only once\n"]


@pytest.mark.skipif(sys.platform != "linux", reason="not run: looks at /proc")
def test_a_worker_inherits_nothing_of_the_supervisors(supervise: Supervise) -> None:
    """Own random numbers, no signal of the supervisor's, and no socket but its own link."""
    program = supervise(workers=[1, 1, 1], body="describe")
    workers = [program.until_did("describe") for _ in range(3)]
    program.signal(SIGTERM)
    assert program.finish() == 0

    assert len({worker["random"] for worker in workers}) == 3
    assert {worker["wakeup_fd"] for worker in workers} == {-1}
    assert {worker["blocked"] for worker in workers} == {0}
    assert {worker["sigchld"] for worker in workers} == {"0"}
    assert {worker["sockets"] for worker in workers} == {1}
    # A handler and not SIG_IGN, which the programs a handler starts would inherit.
    assert all("function" in worker["sigterm"] for worker in workers)


def test_a_handler_the_users_module_installed_stays_in_the_workers(supervise: Supervise) -> None:
    program = supervise(workers=[1], body="describe", own_sigterm=True)
    worker = program.until_did("describe")
    program.signal(SIGTERM)

    assert program.finish() == 0
    assert "own_sigterm" in worker["sigterm"]


def test_numpys_global_generator_is_seeded_in_each_worker(supervise: Supervise) -> None:
    """Forked siblings would otherwise draw the same numbers; Python's own reseeds itself."""
    program = supervise(workers=[1, 1], body="serve", fake_numpy=True)
    pids = serving(program, 2)
    program.signal(SIGTERM)

    assert program.finish() == 0
    assert {line["pid"] for line in program.did("seed")} == set(pids.values())


def _can_unshare() -> bool:
    command = ["unshare", "--pid", "--fork", "--kill-child", "true"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def test_the_first_process_of_a_container_collects_orphans(supervise: Supervise) -> None:
    """A zombie nobody waits for would stay for as long as the container lives."""
    if not _can_unshare():
        pytest.skip("not run: needs the right to make a process namespace")
    program = supervise("unshare", "--pid", "--fork", "--kill-child", workers=[1], body="orphan")

    line = program.until_did("orphan")
    program.signal(SIGKILL)
    program.finish()

    assert line == {"did": "orphan", "collected": True, "supervisor": 1}
