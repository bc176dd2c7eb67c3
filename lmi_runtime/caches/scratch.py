"""A directory for each request, that is gone when the request has been answered."""

from __future__ import annotations

import atexit
import logging
import os
import re
from collections import deque
from pathlib import Path, PosixPath
from types import TracebackType

from lmi_runtime import _sync
from lmi_runtime.caches.trees import is_small, remove_tree, used_bytes
from lmi_runtime.context import Request, current
from lmi_runtime.errors import ScratchFull

__all__ = ["RequestDirectory", "request_tmpdir"]

logger = logging.getLogger(__name__)

_OWNER = 0
"""The lock of a process's own file by which others know that it lives."""

_PLACE = re.compile(r"[0-9]+\.[0-9]+")
"""Process id and number: what the names of a process's directory and of its lock begin with."""

MIN_FREE_BYTES = 16 * 2**20
"""With less on the disk most programs fail in ways that say little."""


class RequestDirectory(PosixPath):
    """
    The path of a request's own directory.

    A `with` or ``async with`` around the work checks the quota at its end; the directory stays
    until the request has been answered.

    Thread safety: from any task or thread.
    """

    _quota_bytes: int | None = None

    def check_quota(self) -> None:
        """
        See whether the files take no more of the disk than `quota_bytes`. Reads the whole tree.

        Raises:
            ScratchFull: They take more.
        """
        quota_bytes = self._quota_bytes
        if quota_bytes is None:
            return
        used = used_bytes(self)
        if used > quota_bytes:
            text = f"{self} takes {used} bytes of the disk; the quota is {quota_bytes} bytes."
            raise ScratchFull(text)

    def with_segments(self, *segments: str | os.PathLike[str]) -> Path:
        """What is derived from it is an ordinary path."""
        return Path(*segments)

    def __enter__(self) -> RequestDirectory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.check_quota()

    async def __aenter__(self) -> RequestDirectory:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None and self._quota_bytes is not None:
            await _sync.offload(self.check_quota)


def request_tmpdir(
    *, quota_bytes: int | None = None, min_free_bytes: int = MIN_FREE_BYTES
) -> RequestDirectory:
    """
    A directory for temporary files of the current request alone.

    It is made, with mode 0700, when the request first asks, is the same one for all of its tasks
    and threads, and is removed with everything in it when the invocation has ended, however it
    ended. Large trees are removed by a thread, after the answer::

        path = request_tmpdir() / "report.csv"

        with request_tmpdir(quota_bytes=200 * 2**20) as folder:
            ...  # ScratchFull at the end of the block when the files took more

    What processes that died left behind is removed when this process first makes one.

    Args:
        quota_bytes: What the files may take of the disk; checked by `check_quota()` and at the
            end of the `with` block. When the directory is made, so much must be free.
        min_free_bytes: What must be free on the disk when the directory is made.

    Raises:
        NoActiveRequest: This code is not serving a request, or one that has been answered.
        ScratchFull: Too little of the disk is free.
        ConfigurationError: The directory above it belongs to somebody else.

    Thread safety: from any task or thread.
    """
    request = current()

    def make() -> Path:
        return _make(request, max(min_free_bytes, quota_bytes or 0))

    path = RequestDirectory(request.keep(RequestDirectory, make))
    path._quota_bytes = quota_bytes
    return path


def _make(request: Request, needed_bytes: int) -> Path:
    root = _root()
    free_bytes = _free_bytes(root.path)
    if free_bytes < needed_bytes:
        raise ScratchFull(
            f"{free_bytes} bytes are free in {root.path.parent}; {needed_bytes} are needed. Ask "
            "for more ephemeral storage, or find out what fills it."
        )
    path = root.new_directory(request.invocation_id or request.request_id)
    request.at_end(lambda: root.discard(path))
    return path


def _free_bytes(path: Path) -> int:
    facts = os.statvfs(path)
    return facts.f_bavail * facts.f_frsize


class _Root:
    """
    Where one process keeps its directories, locked for as long as the process lives.

    Thread safety: everything, from any thread.
    """

    def __init__(self, everybodys: Path) -> None:
        self.path, self._owner = _claim(everybodys)
        self._lock = _sync.Lock()
        self._doomed: deque[Path] = deque()  # guarded by _lock
        self._removing = False  # guarded by _lock; whether a thread is at it

    @property
    def usable(self) -> bool:
        """Whether nobody removed it."""
        return self.path.is_dir()

    def new_directory(self, name: str) -> Path:
        """Make one whose name begins with what of `name` may be in a file's name."""
        safe = re.sub(r"[^A-Za-z0-9-]", "_", name)[:64]
        # Never a name that was there before: who had it may still be about to remove it.
        path = self.path / f"{safe or 'request'}.{os.urandom(6).hex()}"
        path.mkdir(0o700)
        return path

    def discard(self, path: Path) -> None:
        """Take a directory away at once, and remove what is in it as soon as possible."""
        doomed = path.with_name(f".{path.name}")
        try:
            path.rename(doomed)
            if is_small(doomed):
                remove_tree(doomed)
                return
        except FileNotFoundError:  # whoever used it removed it
            return
        except OSError:  # the thread will say why
            pass
        self._discard_later(doomed)

    def remove(self) -> None:
        """Remove everything and give the place up."""
        _remove_claimed(self.path, self._owner)

    def _discard_later(self, path: Path) -> None:
        with self._lock:
            self._doomed.append(path)
            if self._removing:
                return
            self._removing = True
        _sync.spawn(self._remove_doomed, name="lmi-scratch")

    def _remove_doomed(self) -> None:
        while True:
            with self._lock:
                if not self._doomed:
                    self._removing = False
                    return
                path = self._doomed.popleft()
            _try_to_remove(path)


_lock = _sync.Lock()
_current: _Root | None = None  # guarded by _lock


def _root() -> _Root:
    global _current
    with _lock:
        if _current is None or not _current.usable:
            if _current is not None:  # somebody tidied up
                _current.remove()
            everybodys = _sync.private_directory("lmi-scratch")
            _current = _Root(everybodys)
            _sync.spawn(lambda: _sweep(everybodys), name="lmi-scratch-sweep")
        return _current


def _forget_in_child() -> None:
    # What is in the parent's directory is the parent's; a thread that had the lock is not here.
    global _current, _lock
    _lock = _sync.Lock()
    _current = None


def _claim(everybodys: Path) -> tuple[Path, _sync.Held]:
    number = 0
    while True:
        number += 1
        path = everybodys / f"{os.getpid()}.{number}"
        owner = _lock_of(path).try_lock(_OWNER, once=True)
        if owner is None:
            continue
        # A sweeper may have taken the file for a dead process's before it was locked.
        if not owner.removed and _made(path):
            return path, owner
        owner.release()


def _made(path: Path) -> bool:
    try:
        path.mkdir(0o700)
    except FileExistsError:
        return False
    return True


def _sweep(everybodys: Path) -> None:
    """Remove what is left of processes that died: nobody holds the lock that they held."""
    try:
        names = {match[0] for name in os.listdir(everybodys) if (match := _PLACE.match(name))}
        for name in sorted(names):
            path = everybodys / name
            owner = _lock_of(path).try_lock(_OWNER, once=True)
            if owner is not None:
                _remove_claimed(path, owner)
    except OSError:
        logger.warning("Temporary files that others left could not be removed.", exc_info=True)


def _remove_claimed(path: Path, owner: _sync.Held) -> None:
    try:
        if not owner.removed:
            _try_to_remove(path)
            _lock_of(path).path.unlink(missing_ok=True)
    finally:
        owner.release()


def _lock_of(path: Path) -> _sync.LockFile:
    return _sync.LockFile(path.with_name(f"{path.name}.lock"))


def _try_to_remove(path: Path) -> None:
    try:
        remove_tree(path)
    except OSError:
        logger.warning("The temporary files in %s could not be removed.", path, exc_info=True)


def _remove_at_exit() -> None:
    global _current
    with _lock:
        root, _current = _current, None
    if root is not None:
        root.remove()


os.register_at_fork(after_in_child=_forget_in_child)
atexit.register(_remove_at_exit)
