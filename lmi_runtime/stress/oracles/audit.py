"""What is done to the process and the system, noted through an audit hook, with who did it."""

from __future__ import annotations

import locale
import os
import random
import signal
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from lmi_runtime.stress.model import Place

__all__ = ["Deed", "Recording", "recording"]

_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True, slots=True)
class Deed:
    """
    One thing that was done to the process or the system.

    Attributes:
        actor: Who did it, as `who` says.
        kind: ``write``, ``read``, ``create`` (fails if it exists), ``remove``, ``move``,
            ``mkdir``, ``unique`` (a name made by `tempfile`), ``setenv``, ``chdir``, ``random``,
            ``locale``, ``umask``, ``signal``, ``connect``, ``process``, ``fork``, ``library``,
            ``database``.
        subject: Absolute path, variable, address, command.
        value: What was written, for ``setenv``; None when it was taken out.
        place: Where in the user's code, if known.
    """

    actor: int
    kind: str
    subject: str
    value: str | None = None
    place: Place | None = None

    @property
    def where(self) -> str:
        """``(app.py:12)`` with a space before it, or nothing."""
        if self.place is None:
            return ""
        return f" ({os.path.basename(self.place.file)}:{self.place.line})"


@dataclass(slots=True)
class Recording:
    """
    What was done while it was active.

    Thread safety: `deeds` is appended to by any thread, one step each.
    """

    who: Callable[[], int | None]
    wants: Callable[[str], bool] = lambda _file: False
    deeds: list[Deed] = field(default_factory=list)

    def note(self, kind: str, subject: str, value: str | None = None) -> None:
        """Add a deed of whoever runs now; of nobody's nothing is kept."""
        actor = self.who()
        if actor is not None:
            self.deeds.append(Deed(actor, kind, subject, value, self._place()))

    def _place(self) -> Place | None:
        frame: types.FrameType | None = sys._getframe(2)
        while frame is not None:
            code = frame.f_code
            if self.wants(code.co_filename):
                return Place(code.co_filename, frame.f_lineno, code.co_qualname)
            frame = frame.f_back
        return None


# ------------------------------------------------------------------------------ the hook

_active: Recording | None = None
"""Written by the thread that explores, while no run is under way."""
_installed = False


def _hook(event: str, args: tuple[Any, ...]) -> None:
    # Called for everything that anybody does in this process, for the rest of its life.
    recorder = _active
    if recorder is None:
        return
    reader = _EVENTS.get(event)
    if reader is not None:
        reader(recorder, args)


@contextmanager
def recording(
    who: Callable[[], int | None], wants: Callable[[str], bool] = lambda _file: False
) -> Iterator[Recording]:
    """
    Record what is done to the process.

    The first use installs an audit hook, which stays for ever and does nothing in between.

    Args:
        who: Number of the actor that runs now; None for the harness and for import.
        wants: Whether code in a file is the user's, to name the line that did it.

    Thread safety: one at a time, by the thread that explores.
    """
    global _active, _installed
    if not _installed:
        _installed = True
        sys.addaudithook(_hook)
    outer, _active = _active, Recording(who, wants)
    try:
        with ExitStack() as stack:
            for module, name, kind in _CALLS:
                stack.enter_context(_watched(_active, module, name, kind))
            yield _active
    finally:
        _active = outer


# What raises no audit event: seeding is a write, drawing a number is not.
_CALLS: Final[tuple[tuple[types.ModuleType, str, str], ...]] = (
    (random, "seed", "random"),
    (random, "setstate", "random"),
    (locale, "setlocale", "locale"),
    (os, "umask", "umask"),
    (signal, "signal", "signal"),
)


@contextmanager
def _watched(recorder: Recording, module: types.ModuleType, name: str, kind: str) -> Iterator[None]:
    original = vars(module)[name]

    def call(*args: Any, **kwargs: Any) -> Any:
        # Asking for the locale looks the same as setting it, but for the second argument.
        wanted = args[1] if len(args) > 1 else kwargs.get("locale")
        asks = kind == "locale" and wanted is None
        if not asks:
            recorder.note(kind, f"{module.__name__}.{name}()")
        return original(*args, **kwargs)

    vars(module)[name] = call
    try:
        yield
    finally:
        vars(module)[name] = original


def _path(value: object) -> str | None:
    if isinstance(value, bytes):
        value = os.fsdecode(value)
    if not isinstance(value, str) or not value:
        return None  # an open descriptor, or an object that would have to be asked
    try:
        return os.path.abspath(value)
    except FileNotFoundError:
        return value


def _on_open(recorder: Recording, args: tuple[Any, ...]) -> None:
    path, mode, flags = args
    name = _path(path)
    if name is None:
        return
    flags = flags if isinstance(flags, int) else 0
    if flags & os.O_EXCL:
        kind = "create"
    elif flags & _WRITING or (isinstance(mode, str) and set(mode) & set("wax+")):
        kind = "write"
    else:
        kind = "read"
    # A nameless temporary file is opened through the name of its directory.
    if kind == "read" or not os.path.isdir(name):
        recorder.note(kind, name)


def _of_path(kind: str, position: int = 0) -> Callable[[Recording, tuple[Any, ...]], None]:
    def read(recorder: Recording, args: tuple[Any, ...]) -> None:
        name = _path(args[position])
        if name is not None:
            recorder.note(kind, name)

    return read


def _on_database(recorder: Recording, args: tuple[Any, ...]) -> None:
    if args[0] not in ("", ":memory:"):  # those belong to their connection alone
        recorder.note("database", _text(args[0]))


def _of_text(kind: str, position: int = 0) -> Callable[[Recording, tuple[Any, ...]], None]:
    def read(recorder: Recording, args: tuple[Any, ...]) -> None:
        value = args[position] if len(args) > position else ""
        recorder.note(kind, _text(value))

    return read


def _text(value: object) -> str:
    """Never calls user code: an address or a command may hold anything."""
    if isinstance(value, bytes):
        return os.fsdecode(value)
    if isinstance(value, (list, tuple)):
        return " ".join(map(_text, value))
    return str(value) if type(value) in (str, int, float) else f"<{type(value).__qualname__}>"


def _on_connect(recorder: Recording, args: tuple[Any, ...]) -> None:
    address = args[1]
    host_and_port = isinstance(address, tuple) and len(address) >= 2
    recorder.note("connect", ":".join(map(_text, address[:2])) if host_and_port else _text(address))


def _on_putenv(recorder: Recording, args: tuple[Any, ...]) -> None:
    recorder.note("setenv", os.fsdecode(args[0]), os.fsdecode(args[1]))


def _on_move(recorder: Recording, args: tuple[Any, ...]) -> None:
    for position, kind in ((0, "remove"), (1, "move")):
        _of_path(kind, position)(recorder, args)


def _on_fork(recorder: Recording, args: tuple[Any, ...]) -> None:
    recorder.note("fork", "os.fork()")


_EVENTS: Final[Mapping[str, Callable[[Recording, tuple[Any, ...]], None]]] = {
    "open": _on_open,
    "os.chdir": _of_text("chdir"),
    "os.exec": _of_text("process"),
    "os.fork": _on_fork,
    "os.forkpty": _on_fork,
    "os.link": _of_path("create", 1),
    "os.mkdir": _of_path("mkdir"),
    "os.posix_spawn": _of_text("process", 1),
    "os.putenv": _on_putenv,
    "os.remove": _of_path("remove"),
    "os.rename": _on_move,
    "os.rmdir": _of_path("remove"),
    "os.symlink": _of_path("create", 1),
    "os.system": _of_text("process"),
    "os.truncate": _of_path("write"),
    "os.unsetenv": _of_text("setenv"),
    "socket.connect": _on_connect,
    "socket.getaddrinfo": _of_text("connect"),
    "sqlite3.connect": _on_database,
    "subprocess.Popen": _of_text("process", 1),
    "ctypes.dlopen": _of_text("library"),
    "tempfile.mkdtemp": _of_path("unique"),
    "tempfile.mkstemp": _of_path("unique"),
}
