"""Files that one at a time may write: threads, tasks and processes."""

from __future__ import annotations

import gc
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextvars import Context
from pathlib import Path
from typing import Any

import anyio
import pytest

from lmi_runtime import _sync
from lmi_runtime.caches import locked
from lmi_runtime.caches.locked import locked_file
from lmi_runtime.context import Request, enter
from lmi_runtime.errors import ConfigurationError, LockTimeout, WrongKindOfCaller
from lmi_runtime.model import Invocation
from tests.support.patience import PATIENCE_S


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The locks of this test are nobody else's, and every descriptor is closed at the end."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    before = len(os.listdir("/dev/fd"))
    yield tmp_path
    if len(os.listdir("/dev/fd")) > before:
        gc.collect()
    # Fewer, if what an earlier test left was collected meanwhile.
    assert len(os.listdir("/dev/fd")) <= before


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_text("0")
    return made


class Clock:
    """Time passes only where somebody pauses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        self.pauses: list[float] = []
        self.at: dict[int, Callable[[], object]] = {}
        monkeypatch.setattr(_sync, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(_sync, "sleep", self._pause)
        monkeypatch.setattr(anyio, "sleep", self._async_pause)

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now_s += seconds
        self.at.get(len(self.pauses), lambda: None)()

    async def _async_pause(self, seconds: float) -> None:
        self._pause(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def attempt(path: Path, mode: str, **options: Any) -> str:
    """What a `with` in a thread gives."""
    with locked_file(path, mode, **options) as file:
        return str(file.read()) if file.readable() else "written"


def attempt_in_task(path: Path, mode: str, **options: Any) -> str:
    """What an ``async with`` in a task gives."""

    async def body() -> str:
        async with locked_file(path, mode, **options) as file:
            return str(file.read()) if file.readable() else "written"

    return anyio.run(body)


both = pytest.mark.parametrize("attempt", [attempt, attempt_in_task], ids=["thread", "task"])
Attempt = Callable[..., str]

# ---- who waits for whom


@both
@pytest.mark.parametrize("mine", ["r+", "w", "w+", "a", "a+b", "wb"])
@pytest.mark.parametrize("other", ["r", "r+", "w"])
def test_a_writer_has_it_alone(
    attempt: Attempt, path: Path, mine: str, other: str, clock: Clock
) -> None:
    with locked_file(path, mine), pytest.raises(LockTimeout, match="kept locked by others"):
        attempt(path, other, timeout_s=1)

    assert clock.now_s == pytest.approx(101)
    attempt(path, other)


@both
def test_readers_share_it(attempt: Attempt, path: Path) -> None:
    with locked_file(path, "r"), locked_file(path, "rb"):
        assert attempt(path, "r", timeout_s=0) == "0"
        with pytest.raises(LockTimeout):
            attempt(path, "r+", timeout_s=0)


def test_whoever_makes_a_file_has_it_alone(tmp_path: Path) -> None:
    with locked_file(tmp_path / "fresh", "x"), pytest.raises(LockTimeout):
        attempt(tmp_path / "fresh", "r", timeout_s=0)


def test_a_file_that_has_to_be_waited_for_is_opened_when_it_is_free(
    path: Path, clock: Clock
) -> None:
    first = locked_file(path, "w")
    file = first.__enter__()
    file.write("1")
    clock.at[30] = lambda: first.__exit__(None, None, None)

    with locked_file(path, "r", timeout_s=10) as second:
        assert second.read() == "1"

    assert len(clock.pauses) == 30
    assert (clock.pauses[0], clock.pauses[-1]) == (0.000_5, 0.02)


def test_a_file_is_not_emptied_while_somebody_else_has_it(path: Path) -> None:
    with locked_file(path, "r") as file:
        with pytest.raises(LockTimeout):
            attempt(path, "w", timeout_s=0)
        assert file.read() == "0"


def test_other_files_do_not_matter(path: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("other")
    with locked_file(path, "w"):
        assert attempt(tmp_path / "other", "r", timeout_s=0) == "other"


def test_a_link_is_the_file_it_leads_to(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path)
    with locked_file(path, "w"), pytest.raises(LockTimeout):
        attempt(tmp_path / "link", "r", timeout_s=0)


@both
def test_nobody_waits_past_the_deadline_of_the_request(
    attempt: Attempt, path: Path, clock: Clock
) -> None:
    context = Context()
    context.run(enter, Request(Invocation(request_id="r", deadline_s=102.5)))

    with locked_file(path, "w"):
        for options in ({}, {"timeout_s": 99.0}):
            with pytest.raises(LockTimeout) as caught:
                context.run(attempt, path, "r", **options)
            assert clock.now_s == pytest.approx(102.5)

    assert caught.value.error_type == "Function.LockTimeout"


def test_a_request_that_has_ended_has_no_deadline_to_keep(path: Path, clock: Clock) -> None:
    context, request = Context(), Request(Invocation(request_id="r", deadline_s=1.0))
    context.run(enter, request)
    request.end()

    first = locked_file(path, "w")
    first.__enter__()
    clock.at[3] = lambda: first.__exit__(None, None, None)

    assert context.run(attempt, path, "r") == ""


def test_threads_that_count_together_lose_nothing(path: Path) -> None:
    def count() -> None:
        for _ in range(20):
            with locked_file(path) as file:
                number = int(file.read())
                file.seek(0)
                file.write(str(number + 1))

    threads = [_sync.spawn(count, name=f"counter {number}") for number in range(5)]
    for thread in threads:
        thread.join(PATIENCE_S)

    assert path.read_text() == "100"


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_processes_that_count_together_lose_nothing(path: Path) -> None:
    pids = []
    for _ in range(4):
        pids.append(os.fork())
        if pids[-1] == 0:
            try:
                for _ in range(20):
                    with locked_file(path) as file:
                        number = int(file.read())
                        file.seek(0)
                        file.write(str(number + 1))
                os._exit(0)
            finally:
                os._exit(1)

    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4
    assert path.read_text() == "80"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks_that_count_together_lose_nothing(path: Path, backend: str) -> None:
    async def count() -> None:
        for _ in range(10):
            async with locked_file(path) as file:
                number = int(file.read())
                await anyio.lowlevel.checkpoint()
                file.seek(0)
                file.write(str(number + 1))

    async def body() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(count)

    anyio.run(body, backend=backend)

    assert path.read_text() == "50"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_task_that_is_cancelled_while_it_waits_or_works_keeps_nothing(
    path: Path, backend: str
) -> None:
    async def body() -> None:
        async with anyio.create_task_group() as tasks:

            async def work() -> None:
                async with locked_file(path, "w"):
                    tasks.start_soon(wait)
                    await anyio.sleep_forever()

            async def wait() -> None:
                tasks.cancel_scope.cancel()
                async with locked_file(path, "w"):
                    raise AssertionError("it is locked")

            tasks.start_soon(work)

    anyio.run(body, backend=backend)

    assert attempt(path, "r", timeout_s=0) == ""


def test_a_loops_thread_is_not_made_to_wait(path: Path) -> None:
    async def body() -> None:
        with locked_file(path):
            pass

    with pytest.raises(WrongKindOfCaller, match="use async with"):
        anyio.run(body)


# ---- what comes of an error


@both
def test_a_file_that_cannot_be_opened_is_not_kept_locked(attempt: Attempt, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            attempt(tmp_path / "missing", "r+", timeout_s=0)
    assert attempt(tmp_path / "missing", "x", timeout_s=0) == "written"
    with pytest.raises(FileExistsError):
        attempt(tmp_path / "missing", "x", timeout_s=0)


@both
def test_an_unknown_mode_is_an_error_and_nothing_is_locked(attempt: Attempt, path: Path) -> None:
    with pytest.raises(ValueError, match="mode"):
        attempt(path, "rq", timeout_s=0)
    assert attempt(path, "r+", timeout_s=0) == "0"


def test_an_error_in_the_block_closes_and_unlocks_it(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked_file(path, "w") as file:
        raise ZeroDivisionError
    assert file.closed
    assert attempt(path, "r", timeout_s=0) == ""


# ---- in one step


def test_a_new_content_takes_the_place_of_the_old_in_one_step(path: Path) -> None:
    path.chmod(0o640)
    with locked_file(path, "w", replace=True) as file:
        json.dump({"new": 1}, file)
        assert path.read_text() == "0"
        with pytest.raises(LockTimeout):
            attempt(path, "r", timeout_s=0)

    assert json.loads(path.read_text()) == {"new": 1}
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [found.name for found in path.parent.iterdir() if "new" in found.name] == []


def test_a_file_that_was_not_there_is_not_there_until_it_is_whole(tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    with locked_file(fresh, "wb", replace=True) as file:
        file.write(b"whole")
        assert not fresh.exists()
    assert fresh.read_bytes() == b"whole"


def test_after_an_error_the_old_content_is_still_there_and_nothing_else(path: Path) -> None:
    def body() -> None:
        with locked_file(path, "w", replace=True) as file:
            file.write("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        body()

    assert path.read_text() == "0"
    assert sorted(found.name for found in path.parent.iterdir()) == ["file", "tmp"]
    assert attempt(path, "r", timeout_s=0) == "0"


def test_content_that_cannot_be_written_to_its_end_does_not_take_the_place(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when the last of it is written out, on closing."""

    def body() -> None:
        with locked_file(path, "w", replace=True) as file:
            file.write("half")
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, file.fileno())
            os.close(full)

    with pytest.raises(OSError, match="No space left"):
        body()

    assert path.read_text() == "0"
    assert sorted(found.name for found in path.parent.iterdir()) == ["file", "tmp"]


def test_nobody_else_reads_the_new_file_before_it_is_there(path: Path, tmp_path: Path) -> None:
    path.chmod(0o600)
    with locked_file(path, "w", replace=True):
        modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob(".file.*")}

    assert modes == {0o600}


def test_what_lies_in_the_way_of_the_new_file_is_not_written_to(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    with locked_file(path, "w", replace=True):
        (trap,) = tmp_path.glob(".file.*")
    trap.symlink_to(victim)

    with locked_file(path, "w", replace=True) as file:
        file.write("1")

    assert victim.read_text() == "precious"
    assert (path.read_text(), path.is_symlink()) == ("1", False)


def test_the_target_of_a_link_is_replaced_and_the_link_stays(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path)
    with locked_file(tmp_path / "link", "w", replace=True) as file:
        file.write("1")
    assert (tmp_path / "link").is_symlink()
    assert path.read_text() == "1"


@pytest.mark.parametrize("mode", ["r", "r+", "a", "x"])
def test_only_a_file_that_is_written_anew_can_be_replaced(path: Path, mode: str) -> None:
    with pytest.raises(ConfigurationError, match="replace=True is for writing a file anew"):
        locked_file(path, mode, replace=True)


def test_text_is_utf_8_whatever_the_locale_says(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locked_file(path, "w") as file:
        file.write("ü")
        assert file.encoding == "utf-8"
    assert path.read_bytes() == "ü".encode()
    with locked_file(path, "r", encoding="latin-1") as file:
        assert file.read() == "Ã¼"


def test_numbers_of_locks_are_spread_and_fit(tmp_path: Path) -> None:
    numbers = [locked._number_of(tmp_path / str(number)) for number in range(100)]

    assert len(set(numbers)) == 100
    assert min(numbers) >= 0 and 2**50 < max(numbers) < 2**62
