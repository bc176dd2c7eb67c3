"""A request's own directory: made once, nobody else's, gone with the request."""

from __future__ import annotations

import errno
import logging
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import Context
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest

from lmi_runtime import _sync
from lmi_runtime._sync import files
from lmi_runtime.caches import scratch, trees
from lmi_runtime.caches.scratch import request_tmpdir
from lmi_runtime.context import Request, enter, spawn_thread
from lmi_runtime.errors import ConfigurationError, NoActiveRequest, ScratchFull
from lmi_runtime.handlers import handler
from lmi_runtime.model import Invocation
from tests.support.patience import PATIENCE_S
from tests.support.repository import REPOSITORY

T = TypeVar("T")

real_sweep = scratch._sweep


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary directory that is empty at first, and a process that has made nothing yet."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(scratch, "_current", None)
    monkeypatch.setattr(scratch, "_sweep", lambda everybodys: None)
    before = list(files._open_ones.values())
    yield tmp_path
    scratch._remove_at_exit()
    assert list(files._open_ones.values()) == before


def a_request(request_id: str = "r1", **facts: Any) -> Request:
    return Request(Invocation(request_id=request_id, **facts))


def serving(request: Request, function: Callable[[], T]) -> T:
    context = Context()
    context.run(enter, request)
    return context.run(function)


def everything_in(path: Path) -> list[Path]:
    return [found for found in path.rglob("*") if not found.name.endswith(".lock")]


# ---- where and when


def test_it_is_private_named_after_the_request_and_gone_with_it(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = a_request("6f1c")
    path = serving(request, request_tmpdir)
    (path / "file").write_text("x")

    assert path.is_relative_to(temporary)
    assert path.name.startswith("6f1c.")
    for folder in (path, path.parent, path.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) & 0o777 == 0o700
    monkeypatch.setattr(_sync, "spawn", lambda body, name: None)  # no thread needed
    request.end()
    assert not path.exists()
    assert list(path.parent.iterdir()) == []


def test_two_deliveries_of_one_request_have_different_ones() -> None:
    requests = [a_request("same") for _ in range(2)]
    paths = [serving(request, request_tmpdir) for request in requests]

    requests[0].end()

    assert paths[0] != paths[1]
    assert [path.exists() for path in paths] == [False, True]
    requests[1].end()


@pytest.mark.parametrize("request_id", ["../../etc", "", ".", "a/b\0c", "é" * 300, "x" * 300])
def test_no_request_id_leads_elsewhere(request_id: str) -> None:
    request = a_request(request_id)
    path = serving(request, request_tmpdir)

    assert path.resolve() == path
    assert path.parent == scratch._root().path
    request.end()


def test_an_invocation_id_names_it_rather_than_the_request_id() -> None:
    request = a_request("r", invocation_id="inv")

    assert serving(request, request_tmpdir).name.startswith("inv.")
    request.end()


def test_tasks_and_threads_of_a_request_share_one() -> None:
    """Threads that ask at the same time, and a task."""
    request, seen = a_request(), []
    barrier = threading.Barrier(4)

    def ask() -> None:
        barrier.wait(PATIENCE_S)
        seen.append(request_tmpdir())

    async def task() -> Path:
        return request_tmpdir()

    def body() -> None:
        threads = [spawn_thread(ask) for _ in range(4)]
        for thread in threads:
            thread.join(PATIENCE_S)
        seen.append(anyio.run(task))

    serving(request, body)

    assert len(seen) == 5
    assert len(set(seen)) == 1
    request.end()


def test_what_is_derived_from_it_is_an_ordinary_path() -> None:
    request = a_request()

    def body() -> None:
        with request_tmpdir() as folder:
            (folder / "a").mkdir()
            (folder / "a" / "b").write_text("x")
            assert [path.name for path in folder.rglob("b")] == ["b"]
            assert os.path.isdir(folder)

    serving(request, body)
    request.end()


def test_outside_a_request_and_after_it_there_is_none() -> None:
    with pytest.raises(NoActiveRequest, match="not serving a request"):
        request_tmpdir()
    request = a_request()
    request.end()
    with pytest.raises(NoActiveRequest, match="has been answered already"):
        serving(request, request_tmpdir)


def test_a_directory_of_somebody_else_is_not_used(temporary: Path) -> None:
    (temporary / f"lmi-scratch-{os.geteuid()}").mkdir(mode=0o755)

    with pytest.raises(ConfigurationError, match="must have mode 0700"):
        serving(a_request(), request_tmpdir)


def test_it_is_made_again_for_the_next_request_after_somebody_tidied_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = a_request(), a_request()
    path = serving(first, request_tmpdir)
    scratch.remove_tree(path.parent.parent)

    again = serving(second, request_tmpdir)

    assert again.is_dir()
    asked: list[object] = []
    monkeypatch.setattr(_sync, "spawn", lambda body, name: asked.append(body))
    first.end()
    assert asked == []  # there is nothing to remove
    assert again.is_dir()
    second.end()


# ---- however the invocation ends


class LambdaError(Exception):
    pass


def foreign_context() -> Any:
    class FakeContext:
        aws_request_id = "foreign"
        invoked_function_arn = "arn"

    return FakeContext()


def test_a_handler_that_another_runtime_calls_has_one_too() -> None:
    seen = []

    @handler
    def serve(event: Any, context: Any) -> str:
        seen.append(request_tmpdir())
        (seen[0] / "file").write_text("x")
        if event == "fail":
            raise LambdaError
        return seen[0].name

    assert serve({}, foreign_context()).startswith("foreign.")
    assert not seen.pop().exists()
    with pytest.raises(LambdaError):
        serve("fail", foreign_context())
    assert not seen.pop().exists()


def test_an_async_handler_that_is_cancelled_at_its_deadline_leaves_nothing() -> None:
    seen: list[Path] = []

    @handler(deadline_margin_s=0.05)
    async def serve(event: Any, context: Any) -> None:
        seen.append(request_tmpdir())
        (seen[0] / "file").write_text("x")
        await anyio.sleep_forever()

    context = foreign_context()
    context.get_remaining_time_in_millis = lambda: 1
    with pytest.raises(TimeoutError, match="was cancelled"):
        serve({}, context)

    assert not seen[0].exists()


# ---- removal


def test_a_large_tree_is_out_of_the_way_at_once_and_removed_by_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Callable[[], None]] = []
    monkeypatch.setattr(_sync, "spawn", lambda body, name: asked.append(body))
    request = a_request()
    path = serving(request, request_tmpdir)
    (path / "folder").mkdir()
    asked.clear()

    request.end()

    assert not path.exists()
    [left] = path.parent.iterdir()  # out of the way
    [body] = asked
    body()
    assert not left.exists()


def test_one_thread_removes_what_comes_while_it_is_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Callable[[], None]] = []
    monkeypatch.setattr(_sync, "spawn", lambda body, name: asked.append(body))
    requests = [a_request() for _ in range(3)]
    paths = [serving(request, request_tmpdir) for request in requests]
    for path in paths:
        (path / "folder").mkdir()
    asked.clear()

    for request in requests[:2]:
        request.end()
    [body] = asked
    body()
    requests[2].end()
    assert len(asked) == 2
    asked[1]()

    assert list(paths[0].parent.iterdir()) == []


def test_what_cannot_be_removed_is_logged_and_costs_nobody_anything(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stuck(path: Path) -> None:
        raise OSError(errno.EBUSY, "a file system is mounted there")

    monkeypatch.setattr(scratch, "remove_tree", stuck)
    monkeypatch.setattr(_sync, "spawn", lambda body, name: body())
    request = a_request()
    serving(request, request_tmpdir)

    request.end()

    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "could not be removed" in caplog.text
    monkeypatch.setattr(scratch, "remove_tree", trees.remove_tree)


def test_a_link_in_place_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    request = a_request()
    path = serving(request, request_tmpdir)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    path.rmdir()
    path.symlink_to(precious)

    removed = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_sync, "spawn", lambda body, name: removed.append(body()))
        request.end()

    assert (precious / "file").exists()
    assert not path.exists()


# ---- what dead processes left


def test_what_a_dead_process_left_is_removed_and_what_a_living_one_has_is_not(
    temporary: Path,
) -> None:
    everybodys = _sync.private_directory("lmi-scratch")
    # One whose number this very process has: an id alone proves nothing.
    dead = [everybodys / "4194999.1", everybodys / f"{os.getpid()}.7"]
    for path in dead:
        path.mkdir()
        (path / "file").touch()
        scratch._lock_of(path).path.touch()
    (everybodys / "4194998.1.lock").touch()
    living = everybodys / "1.1"
    living.mkdir()
    owner = scratch._lock_of(living).try_lock(scratch._OWNER)
    assert owner is not None

    real_sweep(everybodys)

    left = sorted(path.name for path in everybodys.iterdir())
    owner.release()
    assert left == ["1.1", "1.1.lock"]


def test_a_sweeper_that_comes_late_removes_nothing_of_who_came_after_the_dead(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It locks a file that another sweeper removed; the name may be a living process's by now."""
    everybodys = _sync.private_directory("lmi-scratch")
    path = everybodys / "1.1"
    path.mkdir()
    real, successors = _sync.LockFile.try_lock, []

    def late(self: _sync.LockFile, offset: int, **options: Any) -> Any:
        held = real(self, offset, **options)
        self.path.unlink()
        successors.append(real(self, offset, **options))
        return held

    monkeypatch.setattr(_sync.LockFile, "try_lock", late)
    real_sweep(everybodys)

    assert sorted(found.name for found in everybodys.iterdir()) == ["1.1", "1.1.lock"]
    [successor] = successors
    assert not successor.removed
    successor.release()


def test_a_process_sweeps_when_it_first_makes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    swept: list[Path] = []
    monkeypatch.setattr(scratch, "_sweep", swept.append)
    monkeypatch.setattr(_sync, "spawn", lambda body, name: body())
    requests = [a_request(), a_request()]
    paths = [serving(request, request_tmpdir) for request in requests]

    assert swept == [paths[0].parent.parent]
    for request in requests:
        request.end()


def test_a_sweep_that_fails_is_logged(temporary: Path, caplog: pytest.LogCaptureFixture) -> None:
    real_sweep(temporary / "missing")

    assert "could not be removed" in caplog.text


def test_a_place_that_a_sweeper_took_away_meanwhile_is_not_used(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a lock file that nobody has locked yet for a dead process's."""
    real, swept = _sync.LockFile.try_lock, []

    def late(self: _sync.LockFile, offset: int, **options: Any) -> Any:
        if not swept:
            self.path.touch()
        held = real(self, offset, **options)
        if not swept:
            swept.append(self.path)
            self.path.unlink()
        return held

    monkeypatch.setattr(_sync.LockFile, "try_lock", late)
    request = a_request()
    path = serving(request, request_tmpdir)

    assert path.parent.name.endswith(".2")
    assert scratch._lock_of(path.parent).path.exists()
    request.end()


def test_two_threads_that_come_first_share_one_place(
    monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    """The second one asks while the first one makes it."""
    real, seen, threads = scratch._Root, [], []
    at_the_door = threading.Event()

    class Announcing:
        def __init__(self) -> None:
            self._lock = threading.Lock()

        def __enter__(self) -> None:
            if threads:
                at_the_door.set()
            self._lock.acquire()

        def __exit__(self, *_: object) -> None:
            self._lock.release()

    def slow(everybodys: Path) -> Any:
        if not threads:
            threads.append(threading.Thread(target=lambda: seen.append(scratch._root())))
            threads[0].start()
            assert at_the_door.wait(PATIENCE_S)
        return real(everybodys)

    monkeypatch.setattr(scratch, "_lock", Announcing())
    monkeypatch.setattr(scratch, "_Root", slow)
    seen.append(scratch._root())
    threads[0].join(PATIENCE_S)

    assert len(seen) == 2
    assert seen[0] is seen[1]


def test_a_process_that_ends_leaves_nothing(temporary: Path) -> None:
    code = (
        "from lmi_runtime.caches.scratch import request_tmpdir\n"
        "from lmi_runtime.context import Request, enter\n"
        "from lmi_runtime.model import Invocation\n"
        "enter(Request(Invocation(request_id='r'))); (request_tmpdir() / 'f').touch(); print('ok')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
    [everybodys] = temporary.iterdir()
    assert list(everybodys.iterdir()) == []


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_has_a_place_of_its_own_and_removes_nothing_of_its_parents() -> None:
    request = a_request()
    path = serving(request, request_tmpdir)
    pid = os.fork()
    if pid == 0:
        try:
            own = serving(a_request(), request_tmpdir)
            scratch._remove_at_exit()
            good = own.parent != path.parent and not own.exists() and path.exists()
            os._exit(0 if good else 1)
        finally:
            os._exit(2)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert path.exists()
    request.end()


# ---- how much


def test_too_little_free_space_is_told_before_anything_is_written(temporary: Path) -> None:
    request = a_request()

    with pytest.raises(ScratchFull, match=r"bytes are free in .*; \d+ are needed. Ask for more"):
        serving(request, lambda: request_tmpdir(min_free_bytes=2**60))
    with pytest.raises(ScratchFull) as caught:
        serving(request, lambda: request_tmpdir(quota_bytes=2**60))

    assert caught.value.error_type == "Function.ScratchFull"
    assert [path for path in everything_in(temporary) if path.name.startswith("r1")] == []
    serving(request, request_tmpdir)  # the next one, who needs less, gets it
    request.end()


def fill(folder: Path, size: int) -> None:
    (folder / "file").write_bytes(b"x" * size)


def test_files_beyond_the_quota_are_an_error_at_the_end_of_the_block() -> None:
    request = a_request()

    def body(size: int) -> None:
        with request_tmpdir(quota_bytes=100_000) as folder:
            fill(folder, size)

    serving(request, lambda: body(50_000))
    with pytest.raises(ScratchFull, match=r"takes \d+ bytes of the disk; the quota is 100000"):
        serving(request, lambda: body(200_000))
    request.end()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_task_checks_the_quota_without_holding_up_its_loop(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, threads = a_request(), []
    real = scratch.used_bytes

    def measured(path: Path) -> int:
        threads.append(threading.current_thread())
        return real(path)

    async def body() -> None:
        async with request_tmpdir(quota_bytes=100_000) as folder:
            fill(folder, 200_000)

    monkeypatch.setattr(scratch, "used_bytes", measured)
    with pytest.raises(ScratchFull):
        serving(request, lambda: anyio.run(body, backend=backend))

    assert threading.main_thread() not in threads
    assert len(threads) == 1
    request.end()


def test_an_error_in_the_block_is_not_hidden_by_the_quota() -> None:
    request = a_request()

    def body() -> None:
        with request_tmpdir(quota_bytes=1) as folder:
            fill(folder, 100)
            raise LambdaError

    async def task() -> None:
        async with request_tmpdir(quota_bytes=1):
            raise LambdaError

    with pytest.raises(LambdaError):
        serving(request, body)
    with pytest.raises(LambdaError):
        serving(request, lambda: anyio.run(task))
    request.end()


def test_without_a_quota_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "used_bytes", lambda path: 1 // 0)
    request = a_request()

    async def task() -> None:
        async with request_tmpdir():
            pass

    serving(request, lambda: request_tmpdir().check_quota())
    serving(request, lambda: anyio.run(task))
    request.end()
