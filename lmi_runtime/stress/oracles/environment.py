"""What invocations do to what a process, or a machine, has only one of."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

from lmi_runtime.stress.oracles.audit import Deed, Recording, recording
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

# No file that two could spoil for each other, or one that the interpreter takes care of.
_NOT_FILES: Final = ("/dev/", "/proc/", "/sys/")
_NOT_SHARED: Final = ("/dev/shm/",)


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
