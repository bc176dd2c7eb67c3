"""What stays is a leak if serial runs do not leave it, and what grows each time is one."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from pathlib import Path

import pytest

from lmi_runtime.stress.oracles.leaks import Holdings, growing, grown, hold, leaked, left_files
from lmi_runtime.stress.world import canonical, sizes
from tests.support.patience import PATIENCE_S


def test_a_list_that_is_appended_to_grows() -> None:
    after = [{"app.SEEN": count, "app.CACHE": 1} for count in (1, 2, 3)]

    (found,) = grown(after)

    assert found.sentence == (
        "app.SEEN grows with every invocation: 1, 2 and 3 after 1 to 3 of the same event"
    )
    assert found.key == ("leak", "app.SEEN")
    assert "deque(maxlen" in found.hint


@pytest.mark.parametrize(
    "series", [(1, 1, 1), (0, 1, 1), (1, 2, 2), (3, 2, 3), (1,)], ids=lambda it: str(it)
)
def test_what_stops_growing_is_no_leak(series: tuple[int, ...]) -> None:
    assert growing([{"app.CACHE": size} for size in series]) == ()


def test_of_containers_in_each_other_the_outer_is_named() -> None:
    states = [{"app.BY": canonical({str(k): list(range(n)) for k in range(n)})} for n in (1, 2, 3)]

    assert [it.object_path for it in grown([sizes(it) for it in states])] == ["app.BY"]


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("logging.getLogger('app').handlers", "handlers"),
        ("leases of app.POOL", "Lease with"),
        ("open files and sockets", "Close it"),
    ],
)
def test_the_hint_fits_what_grows(path: str, word: str) -> None:
    (found,) = grown([{path: 1}, {path: 2}])

    assert word in found.hint


def test_threads_that_serial_runs_leave_may_stay() -> None:
    before, after = Holdings(threads=("main",)), Holdings(threads=("main", "pool_0"))

    assert leaked(before, after, [after]) == ()
    (found,) = leaked(before, after, [before])
    assert found.sentence == "1 more live threads than there should be: pool_0"


def test_tasks_variables_and_leases_may_not() -> None:
    after = Holdings(tasks=("refresh",), context=("TENANT",), leases={"app.POOL": 2})

    found = leaked(Holdings(leases={"app.POOL": 1}), after, [after])

    assert {it.object_path for it in found} == {
        "tasks that nobody waits for",
        "context variables that are still set",
        "app.POOL",
    }
    assert any("1 lease out" in it.sentence for it in found)


def test_what_the_process_holds_is_read(tmp_path: Path) -> None:
    variable = contextvars.ContextVar[int]("LEFT_SET")
    context = contextvars.copy_context()
    context.run(variable.set, 1)
    before = hold(context=context)
    ready, stop = threading.Event(), threading.Event()

    def live() -> None:
        ready.set()
        stop.wait(PATIENCE_S)

    thread = threading.Thread(target=live, name="left running")
    thread.start()
    assert ready.wait(PATIENCE_S)
    descriptor = os.open(tmp_path / "left-open", os.O_CREAT | os.O_WRONLY)
    try:
        after = hold(context=context, leases={"pool": lambda: 3})
    finally:
        os.close(descriptor)
        stop.set()
        thread.join()

    assert "LEFT_SET" in before.context
    assert set(after.threads) - set(before.threads) == {"left running"}
    assert len(after.descriptors) == len(before.descriptors) + 1
    assert after.leases == {"pool": 3}
    assert after.sizes()["leases of pool"] == 3


def test_tasks_that_ended_do_not_count() -> None:
    async def main() -> Holdings:
        done = asyncio.create_task(asyncio.sleep(0), name="done")
        await done
        waiting = asyncio.create_task(asyncio.sleep(10), name="waiting")
        held = hold(tasks=[done, waiting])
        waiting.cancel()
        return held

    assert asyncio.run(main()).tasks == ("waiting",)


def test_files_left_are_named_with_the_invocation(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "inner").touch()
    made = [(str(tmp_path / name), 2) for name in ("mine", "mine/inner", "gone")]

    (found,) = left_files(made)

    assert found.sentence == f"invocation 2 leaves {tmp_path / 'mine'} behind"
