"""
Locks between the processes of one machine, and a place for their files that is nobody else's.

The kernel keeps these locks, and frees them when their holder dies, however it dies.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from lmi_runtime._sync import clocks
from lmi_runtime._sync.primitives import RLock
from lmi_runtime.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Held", "LockFile", "private_directory", "temporary_directory"]

_FIRST_PAUSE_S = 0.000_5
_LONGEST_PAUSE_S = 0.02
_LAYOUT = "hhqqi0q"
"""The kernel's `struct flock`: type, whence, start, length, process (0 for these locks)."""

_has_ranges = hasattr(fcntl, "F_OFD_SETLK")
"""Whether parts of a file can be locked by whoever opened it. Not on macOS."""


def temporary_directory() -> Path:
    """Where temporary files belong: ``TMPDIR``, else ``/tmp``."""
    from pathlib import Path

    return Path(os.environ.get("TMPDIR") or "/tmp")


def private_directory(name: str) -> Path:
    """
    A directory under the temporary one that only this user can read; made if it is missing.

    Its name holds the user's number, so that two users do not meet.

    Args:
        name: What it is for; one path component.

    Raises:
        ConfigurationError: Somebody else made it, it is not a directory, others may use it, or
            it cannot be made.

    Thread safety: from any thread and any number of processes at once.
    """
    if not name or name in {".", ".."} or "/" in name or "\0" in name:
        raise ConfigurationError(f"{name!r} cannot be the name of a directory.")
    path = temporary_directory() / f"{name}-{os.geteuid()}"
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigurationError(f"The directory {path} cannot be made: {error}.") from error
    _check_private(path)
    return path


def _check_private(path: Path) -> None:
    try:
        facts = os.lstat(path)
    except OSError as error:
        raise ConfigurationError(f"The directory {path} cannot be used: {error}.") from error
    if not stat.S_ISDIR(facts.st_mode):
        raise ConfigurationError(f"{path} must be a directory, and is something else; remove it.")
    if facts.st_uid != os.geteuid():
        raise ConfigurationError(f"{path} belongs to user {facts.st_uid}, not to this one.")
    if stat.S_IMODE(facts.st_mode) & 0o777 != 0o700:
        mode = stat.S_IMODE(facts.st_mode)
        raise ConfigurationError(f"{path} must have mode 0700, and has {mode:04o}.")


class Held:
    """
    A lock that is held, until `release()` or the end of this process.

    A child that is forked holds nothing: there, `release()` does nothing.

    Thread safety: from any thread; it need not be the one that took the lock.
    """

    __slots__ = ("_fd", "_path")

    def __init__(self, fd: int, path: Path | None) -> None:
        self._fd = fd  # guarded by _guard; -1 once it is closed
        self._path = path

    @property
    def active(self) -> bool:
        """Whether this process holds the lock still."""
        return self._fd >= 0

    @property
    def removed(self) -> bool:
        """Whether its file was removed: others who lock now lock another one."""
        return os.fstat(self._fd).st_nlink == 0

    def fileno(self) -> int:
        """The descriptor that holds it, for reading and writing what the lock is about."""
        return self._fd

    def release(self) -> None:
        """Let go. Later calls do nothing."""
        with _guard:
            fd, self._fd = self._fd, -1
            if fd < 0:
                return
            if self._path is not None:
                _unlink(self._path)
            # Not by closing alone: a child on its way from fork to exec may have a copy.
            _unlock(fd)
            _close(fd)


class LockFile:
    """
    Locks with numbers, in one file that they share.

    Each lock is held by an opening of the file, not by a process: threads exclude each other
    like processes do. The file is opened for each lock anew, so there is nothing to share or to
    lose at a fork. It must not be removed while somebody uses it.

    Where the kernel cannot lock a part of a file for one opening of it (macOS), every number is
    a file of its own, beside `path`.

    Args:
        path: The file; made if it is missing. Its directory should be a private one.

    Thread safety: everything, from any thread and any number of processes.
    """

    __slots__ = ("path",)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        from pathlib import Path

        self.path = Path(path)

    def try_lock(self, offset: int, *, shared: bool = False, once: bool = False) -> Held | None:
        """
        The lock `offset`, or None when somebody has it. Never blocks.

        Args:
            offset: Which lock: 0 to 2**62.
            shared: Any number may hold it shared, while nobody holds it alone.
            once: Nobody will ever ask for this number again: nothing has to stay of it.

        Raises:
            OSError: The file cannot be opened, or this process has too many open files.
        """
        return self.try_any((offset,), shared=shared, once=once)

    def try_any(
        self, offsets: tuple[int, ...] | range, *, shared: bool = False, once: bool = False
    ) -> Held | None:
        """The first lock of `offsets` that is free, or None. Never blocks."""
        if _has_ranges:
            return self._try_ranges(offsets, shared)
        for offset in offsets:
            held = _try_whole(self._sibling(offset), shared, once)
            if held is not None:
                return held
        return None

    def wait_lock(
        self, offset: int, give_up: Callable[[], bool], *, shared: bool = False
    ) -> Held | None:
        """
        Wait for the lock `offset`, in no particular order. Not in an event loop's thread.

        It asks again and again, every 0.5 ms at first and every 20 ms in the end, because a
        thread that waits in the kernel cannot be called back.

        Args:
            offset: Which lock.
            give_up: Asked before every pause; True ends the wait.
            shared: As for `try_lock`.

        Returns:
            The lock, or None when `give_up` said so.
        """
        pause_s = _FIRST_PAUSE_S
        while (held := self.try_lock(offset, shared=shared)) is None:
            if give_up():
                return None
            clocks.sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, pause_s * 1.5)
        return held

    def locked(self, offset: int, length: int = 1, *, through: Held | None = None) -> bool:
        """
        Whether anybody, this process included, holds one of `length` locks from `offset` on.

        Args:
            offset: The first lock to ask for.
            length: How many.
            through: A lock of this file that this process holds and does not ask about: a file
                that is open already is asked faster.
        """
        return self._some_locked(offset, length, through) is not None

    def lowest_locked(self, offset: int, length: int, *, through: Held | None = None) -> int | None:
        """Like `locked`, but which one; of several the one with the lowest number."""
        lowest = None
        while length > 0 and (found := self._some_locked(offset, length, through)) is not None:
            lowest, length = found, found - offset
        return lowest

    def _some_locked(self, offset: int, length: int, through: Held | None) -> int | None:
        if not _has_ranges:
            return _some_sibling_locked(self.path, offset, length)
        if through is not None:
            return _some_range_locked(through.fileno(), offset, length)
        held = _open(self.path)
        try:
            return _some_range_locked(held.fileno(), offset, length)
        finally:
            held.release()

    def _try_ranges(self, offsets: tuple[int, ...] | range, shared: bool) -> Held | None:
        held = _open(self.path)
        try:
            for offset in offsets:
                if _lock_range(held._fd, offset, shared):
                    return held
        except BaseException:
            held.release()
            raise
        held.release()
        return None

    def _sibling(self, offset: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{offset}")


# Every descriptor of ours is listed from before it holds a lock until after it was closed, so that
# a child can close its copies: else a lock would outlive its holder for as long as the child.
_guard = RLock()  # re-entrant: a signal handler may fork while its thread has it
_open_ones: dict[int, Held] = {}  # guarded by _guard


def _open(path: Path, *, once: bool = False) -> Held:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    with _guard:
        fd = os.open(path, flags, 0o600)
        held = _open_ones[fd] = Held(fd, path if once else None)
    return held


def _close(fd: int) -> None:
    del _open_ones[fd]
    os.close(fd)


def _lock_range(fd: int, offset: int, shared: bool) -> bool:
    kind = fcntl.F_RDLCK if shared else fcntl.F_WRLCK
    wanted = struct.pack(_LAYOUT, kind, os.SEEK_SET, offset, 1, 0)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, wanted)
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES}:
            return False
        raise
    return True


def _some_range_locked(fd: int, offset: int, length: int) -> int | None:
    wanted = struct.pack(_LAYOUT, fcntl.F_WRLCK, os.SEEK_SET, offset, length, 0)
    kind, _, start, _, _ = struct.unpack(_LAYOUT, fcntl.fcntl(fd, fcntl.F_OFD_GETLK, wanted))
    return None if kind == fcntl.F_UNLCK else int(start)


def _try_whole(path: Path, shared: bool, once: bool) -> Held | None:
    held = _open(path, once=once)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(held._fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        held._path = None
        held.release()
        return None
    return held


def _some_sibling_locked(path: Path, offset: int, length: int) -> int | None:
    for sibling in path.parent.glob(f"{path.name}.*"):
        number = sibling.name.removeprefix(f"{path.name}.")
        if number.isdecimal() and offset <= int(number) < offset + length:
            held = _try_whole(sibling, shared=False, once=False)
            if held is None:
                return int(number)
            held.release()
    return None


def _unlock(fd: int) -> None:
    if _has_ranges:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack(_LAYOUT, fcntl.F_UNLCK, 0, 0, 0, 0))
    else:
        fcntl.flock(fd, fcntl.LOCK_UN)


def _unlink(path: Path) -> None:
    try:
        path.unlink()
    except FileNotFoundError:
        return


def _let_go_in_child() -> None:
    global _guard
    _guard = RLock()
    for fd, held in _open_ones.items():
        held._fd = -1
        os.close(fd)
    _open_ones.clear()


# Between `before` and the fork no thread is between opening a file and listing it.
os.register_at_fork(
    before=lambda: _guard.acquire(),
    after_in_parent=lambda: _guard.release(),
    after_in_child=_let_go_in_child,
)
