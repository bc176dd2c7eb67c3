"""What invocations do to what a process, or a machine, has only one of."""

from __future__ import annotations

import locale
import os
import random
import signal
import sys
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from lmi_runtime.stress.model import Place
from lmi_runtime.stress.oracles.hints import hint
from lmi_runtime.stress.program import Complaint
from lmi_runtime.stress.world import Change

__all__ = [
    "Deed",
    "Recording",
    "judge_changes",
    "judge_deeds",
    "own_files",
    "recording",
    "uncontrolled",
]

_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND
# No file that two could spoil for each other, or one that the interpreter takes care of.
_NOT_FILES: Final = ("/dev/", "/proc/", "/sys/")
_NOT_SHARED: Final = ("/dev/shm/",)


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
    "sqlite3.connect": _of_text("database"),
    "subprocess.Popen": _of_text("process", 1),
    "ctypes.dlopen": _of_text("library"),
    "tempfile.mkdtemp": _of_path("unique"),
    "tempfile.mkstemp": _of_path("unique"),
}


# ------------------------------------------------------------------------------ the judges


def _identity(actor: int) -> int:
    return actor


def judge_deeds(
    deeds: Iterable[Deed],
    *,
    tokens: Mapping[int, Collection[str]] | None = None,
    invocation_of: Callable[[int], int | None] = _identity,
    before: Mapping[str, str] | None = None,
) -> tuple[Complaint, ...]:
    """
    What invocations did that others can see.

    Args:
        deeds: From a recording.
        tokens: By invocation: what its own names contain, so that no other makes the same.
        invocation_of: Which invocation an actor works for; None for nobody's.
        before: The environment before the run; to write what was there changes nothing.
    """
    mine = [(number, deed) for deed in deeds if (number := invocation_of(deed.actor)) is not None]
    return (
        *_environment_complaints(mine, before),
        *_process_complaints(mine),
        *_file_complaints(mine, tokens or {}),
    )


def _environment_complaints(
    deeds: Sequence[tuple[int, Deed]], before: Mapping[str, str] | None
) -> Iterator[Complaint]:
    said: set[str] = set()
    for number, deed in deeds:
        if deed.kind != "setenv" or deed.subject in said:
            continue
        if before is not None and before.get(deed.subject) == deed.value:
            continue
        said.add(deed.subject)
        path = f"os.environ[{deed.subject!r}]"
        verb = "deletes" if deed.value is None else "sets"
        sentence = (
            f"invocation {number} {verb} {path}{deed.where}, which all invocations of the "
            "process share"
        )
        yield Complaint("environment", sentence, hint("environment.environ"), path)


_PROCESS_WIDE: Final = {
    "chdir": ("changes the current directory", "environment.directory"),
    "random": ("sets the state of the shared random generator", "environment.random"),
    "locale": ("sets the locale", "environment.locale"),
    "umask": ("sets the umask", "environment.umask"),
    "signal": ("sets a signal handler", "environment.signal"),
}


def _process_complaints(deeds: Sequence[tuple[int, Deed]]) -> Iterator[Complaint]:
    said: set[str] = set()
    for number, deed in deeds:
        if deed.kind in _PROCESS_WIDE and deed.kind not in said:
            said.add(deed.kind)
            what, kind = _PROCESS_WIDE[deed.kind]
            sentence = f"invocation {number} {what} of the whole process{deed.where}"
            yield Complaint("environment", sentence, hint(kind), deed.kind)


def _file_complaints(
    deeds: Sequence[tuple[int, Deed]], tokens: Mapping[int, Collection[str]]
) -> Iterator[Complaint]:
    """
    A name that two invocations open, one of them to write.

    To move a file onto the name, or to create it only where it is not there yet, is one step
    that nobody sees half of.
    """
    unique = {(number, deed.subject) for number, deed in deeds if deed.kind == "unique"}
    opened = [
        (deed.subject, number, deed)
        for number, deed in deeds
        if deed.kind in ("read", "write")
        and _is_shared_name(deed.subject)
        and not any(token in deed.subject for token in tokens.get(number, ()))
        and not _is_own(deed.subject, number, unique)
    ]
    opened.sort(key=lambda it: it[0])
    for path, group in groupby(opened, key=lambda it: it[0]):
        touched = list(group)
        writers = [it for it in touched if it[2].kind == "write"]
        others = [it for it in touched if writers and it[1] != writers[0][1]]
        if others:
            first, second = writers[0], others[0]
            verb = "writes it, too" if second[2].kind == "write" else "reads it"
            sentence = (
                f"invocation {first[1]} writes {path}{first[2].where}, and invocation "
                f"{second[1]} {verb}{second[2].where}: the name is the same in all invocations"
            )
            yield Complaint("environment", sentence, hint("environment.file"), path)


def _is_shared_name(path: str) -> bool:
    if path.startswith(_NOT_FILES) and not path.startswith(_NOT_SHARED):
        return False
    return "__pycache__" not in path and not path.endswith((".py", ".pyc"))


def _is_own(path: str, number: int, unique: Collection[tuple[int, str]]) -> bool:
    while len(path) > 1:
        if (number, path) in unique:
            return True
        path = os.path.dirname(path)
    return False


def own_files(
    deeds: Iterable[Deed],
    *,
    tokens: Mapping[int, Collection[str]] | None = None,
    invocation_of: Callable[[int], int | None] = _identity,
) -> tuple[tuple[str, int], ...]:
    """
    Files and directories with names of one invocation's own, and its number; for `left_files`.
    """
    found: dict[str, int] = {}
    for deed in deeds:
        number = invocation_of(deed.actor)
        if number is None or deed.kind not in ("unique", "write", "create", "mkdir", "move"):
            continue
        named = any(token in deed.subject for token in (tokens or {}).get(number, ()))
        if deed.kind == "unique" or named:
            found.setdefault(deed.subject, number)
    return tuple(found.items())


_CHANGE_HINTS: Final = {
    "os.environ": "environment.environ",
    "the current directory": "environment.directory",
    "the umask": "environment.umask",
    "the locale": "environment.locale",
    "the handler of signal": "environment.signal",
    "the decimal context": "environment.decimal",
    "warnings.filters": "environment.warnings",
    "logging": "environment.logging",
}


def judge_changes(changes: Iterable[Change]) -> tuple[Complaint, ...]:
    """
    What is different in the process after the run; see `World.compare`.

    Handlers of loggers are left to the leak oracle: one that is added once may be meant. So is
    what comes to be at its first use, such as a logger. Libraries that are imported for the first
    time may set warning filters, so give readings of a run that is not the first.
    """
    return tuple(
        Complaint(
            "environment",
            f"the invocations changed the process: {change.sentence}",
            hint(_kind_of_change(change)),
            change.path,
        )
        for change in changes
        if not change.path.endswith(".handlers") and not _is_first_use(change)
    )


def _is_first_use(change: Change) -> bool:
    return change.part in ("logging", "attributes") and change.before in ("nothing", "None")


def _kind_of_change(change: Change) -> str:
    if change.path in ("sys.stdout", "sys.stderr", "sys.stdin"):
        return "environment.stream"
    return _CHANGE_HINTS.get(change.part, "environment")


_OUTSIDE: Final = {
    "connect": "connects to {}: when it is answered is not under control",
    "process": "starts another process, {}: what that does is not under control",
    "fork": "forks: the child is not under control",
    "library": "loads the C library {}: locks and threads inside it are not under control",
    "database": "opens the database {}: its locks are not under control",
}


def uncontrolled(
    deeds: Iterable[Deed], invocation_of: Callable[[int], int | None] = _identity
) -> tuple[str, ...]:
    """Sentences about what invocations did that the scheduler cannot see."""
    said = {
        f"invocation {number} {_OUTSIDE[deed.kind].format(deed.subject)}{deed.where}": None
        for deed in deeds
        if deed.kind in _OUTSIDE and (number := invocation_of(deed.actor)) is not None
    }
    return tuple(said)
