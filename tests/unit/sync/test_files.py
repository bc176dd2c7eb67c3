"""Locks between processes, and directories that are nobody else's."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime import _sync
from lmi_runtime._sync import files
from lmi_runtime.errors import ConfigurationError
from tests.support.patience import PATIENCE_S


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


@pytest.fixture(params=["ranges", "whole files"])
def lock_file(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[_sync.LockFile]:
    """Locks as Linux has them, and as macOS does; every descriptor is closed at the end."""
    if request.param == "whole files":
        monkeypatch.setattr(files, "_has_ranges", False)
    elif not files._has_ranges:
        pytest.skip("not run: this kernel locks whole files only")
    gc.disable()  # it would close what other tests have left open
    try:
        before = descriptors()
        yield _sync.LockFile(tmp_path / "locks")
        assert descriptors() == before
    finally:
        gc.enable()


def take(lock_file: _sync.LockFile, offset: int, *, shared: bool = False) -> _sync.Held:
    held = lock_file.try_lock(offset, shared=shared)
    assert held is not None
    return held


def in_child(body: Callable[[], bool]) -> bool:
    """What `body` returns in a forked child."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if body() else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == 0


# ---- locks


def test_a_lock_excludes_everybody_else_in_the_same_process_too(lock_file: _sync.LockFile) -> None:
    held = take(lock_file, 7)

    assert lock_file.try_lock(7) is None
    assert lock_file.try_lock(7, shared=True) is None
    held.release()
    take(lock_file, 7).release()


def test_locks_of_different_numbers_have_nothing_to_do_with_each_other(
    lock_file: _sync.LockFile,
) -> None:
    taken = [take(lock_file, offset) for offset in (0, 1, 2**31, 2**62)]

    for held in taken:
        held.release()


def test_letting_go_of_one_lock_leaves_the_others_of_the_file(lock_file: _sync.LockFile) -> None:
    """The older kind of range lock goes when any descriptor of the file is closed."""
    kept, dropped = take(lock_file, 1), take(lock_file, 2)

    dropped.release()

    assert lock_file.try_lock(1) is None
    kept.release()


def test_any_number_may_share_a_lock_and_nobody_has_it_alone_meanwhile(
    lock_file: _sync.LockFile,
) -> None:
    sharing = [take(lock_file, 3, shared=True) for _ in range(3)]

    for held in sharing:
        assert lock_file.try_lock(3) is None
        held.release()
    take(lock_file, 3).release()


def test_the_first_free_lock_of_several_is_taken(lock_file: _sync.LockFile) -> None:
    first = lock_file.try_any(range(5, 7))
    second = lock_file.try_any(range(5, 7))

    assert first is not None and second is not None
    assert lock_file.try_any(range(5, 7)) is None
    assert lock_file.locked(5) and lock_file.locked(6)
    first.release()
    assert not lock_file.locked(5)
    second.release()


def test_releasing_twice_does_nothing_and_another_ones_lock_stays(
    lock_file: _sync.LockFile,
) -> None:
    held = take(lock_file, 1)
    held.release()
    again = take(lock_file, 1)

    held.release()

    assert (held.active, again.active) == (False, True)
    assert lock_file.try_lock(1) is None
    again.release()


@pytest.mark.parametrize("through_own", [True, False])
def test_who_asks_learns_of_locks_in_a_range_and_of_the_lowest(
    lock_file: _sync.LockFile, through_own: bool
) -> None:
    own = take(lock_file, 1)
    through = own if through_own else None
    taken = [take(lock_file, offset) for offset in (12, 10, 11)]

    assert lock_file.lowest_locked(2, 100, through=through) == 10
    assert lock_file.lowest_locked(11, 100, through=through) == 11
    assert lock_file.locked(10, 1, through=through)
    assert not lock_file.locked(2, 8, through=through)
    assert lock_file.lowest_locked(13, 100, through=through) is None
    for held in (*taken, own):
        held.release()


def test_asking_changes_nothing(lock_file: _sync.LockFile) -> None:
    assert not lock_file.locked(5)
    held = take(lock_file, 5, shared=True)
    assert lock_file.locked(5)
    take(lock_file, 5, shared=True).release()
    held.release()


def test_waiting_ends_with_the_lock_as_soon_as_it_is_free(
    lock_file: _sync.LockFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, pauses = take(lock_file, 1), []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 20:
            held.release()

    monkeypatch.setattr("lmi_runtime._sync.clocks.sleep", pause)
    got = lock_file.wait_lock(1, lambda: False)

    assert got is not None and got.active
    assert len(pauses) == 20
    assert (pauses[0], pauses[-1]) == (0.000_5, 0.02)
    assert pauses == sorted(pauses)
    got.release()


def test_waiting_ends_when_it_is_given_up(
    lock_file: _sync.LockFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmi_runtime._sync.clocks.sleep", lambda seconds: None)
    held, answers = take(lock_file, 1), iter([False, False, True])

    assert lock_file.wait_lock(1, lambda: next(answers)) is None
    assert next(answers, "asked three times") == "asked three times"
    held.release()


def test_whoever_gives_up_gets_a_lock_that_is_free_all_the_same(lock_file: _sync.LockFile) -> None:
    held = lock_file.wait_lock(1, lambda: True)

    assert held is not None
    held.release()


def test_a_number_that_is_used_once_leaves_no_file(tmp_path: Path) -> None:
    lock_file = _sync.LockFile(tmp_path / "locks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_has_ranges", False)
        held = lock_file.try_lock(4, once=True)
        assert held is not None
        assert lock_file.locked(4)
        held.release()

    assert list(tmp_path.iterdir()) == []


def test_a_lock_can_tell_that_its_file_is_gone(tmp_path: Path) -> None:
    held = take(_sync.LockFile(tmp_path / "locks"), 1)
    assert not held.removed
    (tmp_path / "locks").unlink()
    assert held.removed
    held.release()


def test_an_error_that_is_no_refusal_is_raised_and_nothing_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, real = descriptors(), fcntl.fcntl

    def broken(fd: int, command: int, argument: bytes) -> bytes:
        if argument[0] == fcntl.F_WRLCK:
            raise OSError(errno.ENOLCK, "no locks available")
        return real(fd, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", broken)

    with pytest.raises(OSError, match="no locks available"):
        _sync.LockFile(tmp_path / "locks").try_lock(1)
    assert descriptors() == before


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    (tmp_path / "locks").symlink_to(tmp_path / "precious")

    with pytest.raises(OSError, match="symbolic link"):
        _sync.LockFile(tmp_path / "locks").try_lock(1)


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.booleans(), st.booleans()), max_size=30
    )
)
def test_locks_follow_the_readers_and_writers_model(
    steps: list[tuple[int, int, bool, bool]],
) -> None:
    """However they are taken and released, by three holders of four locks."""
    lock_file = _sync.LockFile(_sync.private_directory("lmi-test") / f"model-{os.getpid()}")
    held: dict[tuple[int, int], tuple[_sync.Held, bool]] = {}
    for who, offset, shared, release in steps:
        if release and (who, offset) in held:
            held.pop((who, offset))[0].release()
            continue
        others = [kind for (_, number), (_, kind) in held.items() if number == offset]
        allowed = not others or (shared and all(others))
        if (who, offset) in held:
            continue
        got = lock_file.try_lock(offset, shared=shared)
        assert (got is not None) == allowed
        if got is not None:
            held[who, offset] = got, shared
    for got, _ in held.values():
        got.release()
    lock_file.path.unlink(missing_ok=True)


# ---- forks


def test_a_forked_child_holds_nothing_and_takes_nothing_away(lock_file: _sync.LockFile) -> None:
    held = take(lock_file, 1)

    def child() -> bool:
        before = held.active, lock_file.try_lock(1)
        held.release()
        return before == (False, None) and lock_file.try_lock(1) is None

    assert in_child(child)
    assert held.active
    assert lock_file.try_lock(1) is None
    held.release()


def test_a_child_that_lives_does_not_keep_the_lock_of_its_parent(
    lock_file: _sync.LockFile,
) -> None:
    """Not even when the parent dies without a word: the child has no copy of the descriptor."""
    held = take(lock_file, 1)
    (ready, say_ready), (go, say_go) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(say_go)
        os.write(say_ready, b"x")
        os.read(go, 1)
        os._exit(0)
    try:
        assert os.read(ready, 1) == b"x"
        # As the kernel closes it when a process is killed: without unlocking.
        with files._guard:
            files._close(held._fd)
            held._fd = -1
        take(lock_file, 1).release()
    finally:
        os.close(say_go)
        os.waitpid(pid, 0)
        for fd in (ready, say_ready, go):
            os.close(fd)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_waits_until_no_thread_is_between_opening_and_listing(
    lock_file: _sync.LockFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a descriptor would stay open in the child, and the lock with it."""
    inside, forking, taken = _sync.Event(), _sync.Event(), []
    real_open = os.open

    def slow_open(*arguments: object) -> int:
        fd = real_open(*arguments)  # type: ignore[arg-type]
        inside.set()
        # The other thread is about to fork; only a fork that does not wait gets further.
        assert forking.wait(PATIENCE_S)
        return fd

    monkeypatch.setattr(os, "open", slow_open)
    thread = _sync.spawn(lambda: taken.append(lock_file.try_lock(1)), name="taker")
    assert inside.wait(PATIENCE_S)
    monkeypatch.setattr(os, "open", real_open)

    class Announcing:
        def __init__(self, lock: object) -> None:
            self.lock = lock

        def acquire(self) -> None:
            forking.set()
            self.lock.acquire()  # type: ignore[attr-defined]

        def release(self) -> None:
            self.lock.release()  # type: ignore[attr-defined]

    real_guard = files._guard
    monkeypatch.setattr(files, "_guard", Announcing(real_guard))
    listed = in_child(lambda: not files._open_ones)
    monkeypatch.setattr(files, "_guard", real_guard)
    thread.join(PATIENCE_S)

    assert listed
    [held] = taken
    assert held in files._open_ones.values()
    held.release()


def test_letting_go_frees_a_lock_that_a_starting_program_has_a_copy_of(
    lock_file: _sync.LockFile,
) -> None:
    held = take(lock_file, 1)
    copy = os.dup(held.fileno())

    held.release()

    take(lock_file, 1).release()
    os.close(copy)


# ---- private directories


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_a_private_directory_is_made_once_and_only_for_its_user(temporary: Path) -> None:
    path = _sync.private_directory("things")

    facts = path.lstat()
    assert path.parent == temporary
    assert (stat.S_IMODE(facts.st_mode) & 0o777, facts.st_uid) == (0o700, os.geteuid())
    assert _sync.private_directory("things") == path


def test_without_tmpdir_it_lies_under_tmp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)

    assert _sync.temporary_directory() == Path("/tmp")


def test_a_directory_that_others_may_read_is_refused(temporary: Path) -> None:
    _sync.private_directory("things").chmod(0o755)

    with pytest.raises(ConfigurationError, match="must have mode 0700, and has 0755"):
        _sync.private_directory("things")


def test_a_link_to_a_directory_is_refused(temporary: Path) -> None:
    _sync.private_directory("real").rename(temporary / "target")
    (temporary / f"things-{os.geteuid()}").symlink_to(temporary / "target")

    with pytest.raises(ConfigurationError, match="must be a directory, and is something else"):
        _sync.private_directory("things")


def test_somebody_elses_directory_is_refused(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _sync.private_directory("things")
    path.rename(temporary / "things-4711")
    monkeypatch.setattr(os, "geteuid", lambda: 4711)

    with pytest.raises(ConfigurationError, match="belongs to user"):
        _sync.private_directory("things")


def test_a_directory_that_cannot_be_made_says_why(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(temporary / "missing"))

    with pytest.raises(ConfigurationError, match=r"cannot be made: .*No such file"):
        _sync.private_directory("things")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b"])
def test_a_name_that_leads_elsewhere_is_refused(temporary: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be the name"):
        _sync.private_directory(name)
    assert list(temporary.iterdir()) == []
