"""Where a shared cache lies, and the one number its processes agree on."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lmi_runtime import _sync
from lmi_runtime._sync.files import Held, LockFile, private_directory
from lmi_runtime.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["EPOCH", "FLIGHTS_FROM", "WRITER_LOCK", "Place", "check_name", "find_place"]

_CONTROL_BYTES = 4096
EPOCH = 1
"""Which cell of a place says what its epoch is."""
_KEEPER_LOCK = 0
_PATIENCE_S = 2.0
WRITER_LOCK = 1
FLIGHTS_FROM = 1 << 20
"""Locks of keys have numbers from here on."""


def check_name(name: str) -> None:
    """
    Raises:
        ConfigurationError: `name` cannot be a part of a file's name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise ConfigurationError(f"{name!r} cannot be the name of a cache: use [A-Za-z0-9._-].")


def find_place(name: str, directory: str | os.PathLike[str] | None, kind: str) -> Path:
    """
    The directory of the cache `name`; made if it is missing.

    Without `directory` it is one under the temporary directory that belongs to this user and
    this function: two functions, or two projects on one machine, do not share what they cache.

    Raises:
        ConfigurationError: It cannot be made, or is not private.
    """
    from pathlib import Path

    if directory is None:
        root = private_directory("lmi_runtime-caches") / _function(os.environ)
    else:
        root = Path(directory)
    path = root / f"{name}-{kind}-1"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = os.lstat(path)
    except OSError as error:
        raise ConfigurationError(f"The directory {path} cannot be made: {error}.") from error
    if facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) & 0o077:
        raise ConfigurationError(f"{path} must belong to this user alone, with mode 0700.")
    return path


def _function(environ: Mapping[str, str]) -> str:
    from hashlib import blake2b

    names = ("AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION", "LAMBDA_TASK_ROOT")
    what = "\0".join(environ.get(name, "") for name in names)
    if not what.strip("\0"):
        what = os.getcwd()
    return blake2b(what.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


class Place:
    """
    The directory of one cache: a file of locks, and one store after the other.

    A store that is broken is set aside, by whoever finds out first: the number of the store in
    use, the epoch, is in memory that all processes share, and they look at it before each use.

    Raises:
        OSError: The files cannot be made.

    Thread safety: from any thread; a child uses what it inherited.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.locks = LockFile(path / "locks")
        self.cells = _map_control(path / "control", self.locks)

    @property
    def epoch(self) -> int:
        """The number of the store in use."""
        return self.cells[EPOCH]

    def store(self, epoch: int) -> Path:
        """The directory of a store; made if it is missing."""
        path = self.path / f"store-{epoch}"
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def set_aside(self, epoch: int) -> bool:
        """
        Begin the next store, unless the one in use is not `epoch` any more.

        The files are kept, under the name ``broken``, until the next ones break.

        Raises:
            OSError: They cannot be moved, or a process that stands still is about to do it.
        """
        held = _keep_others_out(self.locks)
        try:
            if self.epoch != epoch:
                return False
            following = (epoch + 1) % (1 << 32)
            self.cells[EPOCH] = following
            self._tidy(f"store-{epoch}", f"store-{following}")
            return True
        finally:
            held.release()

    def _tidy(self, broken: str, used: str) -> None:
        import shutil  # it takes its time, and is never needed where nothing breaks

        kept = self.path / "broken"
        shutil.rmtree(kept, ignore_errors=True)
        for old in self.path.glob("store-*"):
            if old.name == broken:
                old.rename(kept)
            elif old.name != used:  # others may have begun to use it
                shutil.rmtree(old, ignore_errors=True)


def _keep_others_out(locks: LockFile) -> Held:
    until_s = _sync.monotonic() + _PATIENCE_S
    held = locks.wait_lock(_KEEPER_LOCK, lambda: _sync.monotonic() > until_s)
    if held is None:
        raise TimeoutError("Another process keeps the store to itself.")
    return held


def _map_control(path: Path, locks: LockFile) -> memoryview:
    import mmap

    held = _keep_others_out(locks)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(fd).st_size < _CONTROL_BYTES:
                # Written, not only made longer: a full disk says so now, and not by a signal
                # when the memory is touched.
                os.pwrite(fd, bytes(_CONTROL_BYTES), 0)
            return memoryview(mmap.mmap(fd, _CONTROL_BYTES)).cast("Q")
        finally:
            os.close(fd)
    finally:
        held.release()
