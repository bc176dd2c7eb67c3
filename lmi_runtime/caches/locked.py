"""Files that one request at a time may write, whichever thread or process serves it."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import anyio

from lmi_runtime import _sync
from lmi_runtime.caches.fixed_names import taking_care
from lmi_runtime.context import peek
from lmi_runtime.errors import ConfigurationError, LockTimeout, WrongKindOfCaller

__all__ = ["LockedFile", "locked_file"]

_FIRST_PAUSE_S = 0.000_5
_LONGEST_PAUSE_S = 0.02


def locked_file(
    path: str | os.PathLike[str],
    mode: str = "r+",
    *,
    timeout_s: float | None = None,
    replace: bool = False,
    encoding: str | None = None,
) -> LockedFile:
    """
    Open a file that nobody else has open through this function, in any process of the machine.

    Use it with `with` in a thread and with ``async with`` in a task, where waiting does not
    hold up the loop::

        with locked_file("/tmp/seen.json", "r+") as file:
            seen = json.load(file)
            ...

    It is opened, and with ``"w"`` made empty, only when the lock has been taken. Locks are the
    kernel's, on a private file: they end with their process. They bind those who use this
    function as the same user, and nobody else. They are not re-entrant, and who waits longest
    does not come first.

    Args:
        path: The file; of two names of one file, as through a symbolic link, both are it.
        mode: As for `open`. With ``"r"`` and ``"rb"`` any number may have it open at once.
        timeout_s: How long to wait for the others, never past the current request's deadline.
            By default until then; without a request, for ever.
        replace: Write to a new file that takes the place of the old one, in one step, when the
            block ends without an error, and is dropped otherwise. Then those who read without
            a lock never see a part of it. For the modes ``"w"``, ``"w+"``, ``"wb"``, ``"w+b"``.
        encoding: As for `open`; UTF-8 by default.

    Raises:
        LockTimeout: The others kept it locked for too long. Raised by the `with`.
        WrongKindOfCaller: A `with` in an event loop's thread; it takes an ``async with``.
        ConfigurationError: `replace` with another mode.
        OSError: As from `open`. Raised by the `with`.

    Thread safety: from any task or thread; each result for one block.
    """
    if replace and set(mode) - set("w+bt"):
        raise ConfigurationError(f"replace=True is for writing a file anew, not for mode {mode!r}.")
    if "b" not in mode:
        encoding = encoding or "utf-8"
    return LockedFile(Path(path), mode, timeout_s, replace=replace, encoding=encoding)


class LockedFile(AbstractContextManager[IO[Any]], AbstractAsyncContextManager[IO[Any]]):
    """What `locked_file` returns."""

    def __init__(
        self, path: Path, mode: str, timeout_s: float | None, *, replace: bool, encoding: str | None
    ) -> None:
        self._path = path
        self._mode = mode
        self._timeout_s = math.inf if timeout_s is None else timeout_s
        self._encoding = encoding
        self._replace = replace
        self._closing = contextlib.ExitStack()  # whoever is in the block

    def __enter__(self) -> IO[Any]:
        if _sync.current_home() is not None:
            raise WrongKindOfCaller(
                f"Waiting for {self._path} would hold up every task of this event loop: use "
                "async with."
            )
        for pause_s in self._pauses():
            file = self._try_open()
            if file is not None:
                return file
            _sync.sleep(pause_s)
        raise self._timeout()

    async def __aenter__(self) -> IO[Any]:
        for pause_s in self._pauses():
            file = self._try_open()
            if file is not None:
                return file
            await anyio.sleep(pause_s)
        raise self._timeout()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.__exit__(kind, error, traceback)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.__exit__(kind, error, traceback)

    def _pauses(self) -> Iterator[float]:
        """How long to wait after each attempt that failed; the last one is without a pause."""
        request = peek()
        left_s = math.inf if request is None or request.ended else request.remaining_s()
        end_s = _sync.monotonic() + min(self._timeout_s, left_s)
        pause_s = _FIRST_PAUSE_S
        while (left_s := end_s - _sync.monotonic()) > 0:
            yield min(pause_s, left_s)
            pause_s = min(_LONGEST_PAUSE_S, pause_s * 1.5)
        yield 0.0

    def _try_open(self) -> IO[Any] | None:
        shared = not set(self._mode) & set("wax+")
        real = Path(os.path.realpath(self._path))
        held = _locks().try_lock(_number_of(real), shared=shared)
        if held is None:
            return None
        with contextlib.ExitStack() as closing:
            closing.callback(held.release)
            file = self._open_new(real, closing) if self._replace else self._open(real)
            closing.callback(file.close)
            self._closing = closing.pop_all()
        return file

    def _open(self, path: Path) -> IO[Any]:
        with taking_care():
            return open(path, self._mode, encoding=self._encoding)

    def _open_new(self, path: Path, closing: contextlib.ExitStack) -> IO[Any]:
        new = path.with_name(f".{path.name}.{os.getpid()}.new")
        new.unlink(missing_ok=True)  # whoever had our process id died, or it is a trap
        closing.push(lambda kind, error, traceback: _settle(new, path, kind is None))
        bits = _bits_of(path)

        def make(name: str, flags: int) -> int:
            return os.open(name, flags | os.O_EXCL | os.O_NOFOLLOW, bits)

        with taking_care():
            return open(new, self._mode, encoding=self._encoding, opener=make)

    def _timeout(self) -> LockTimeout:
        return LockTimeout(f"{self._path} was kept locked by others for too long.")


def _bits_of(path: Path) -> int:
    """Who may read and write a file; its successor never allows more, not even at first."""
    try:
        return path.stat().st_mode & 0o666
    except FileNotFoundError:
        return 0o666


def _settle(new: Path, path: Path, good: bool) -> None:
    if not good:
        new.unlink(missing_ok=True)
        return
    with contextlib.suppress(FileNotFoundError):
        os.chmod(new, path.stat().st_mode & 0o7777)
    new.replace(path)


def _number_of(path: Path) -> int:
    import hashlib  # a function that locks no file does not pay for loading it

    digest = hashlib.blake2b(os.fsencode(path), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 2


def _locks() -> _sync.LockFile:
    return _sync.LockFile(_sync.private_directory("lmi-locks") / "files")
