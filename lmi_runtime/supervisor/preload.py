"""
May the handler be imported once, before the fork, for all workers?

It saves the import's time and most of its memory. It is wrong when the import leaves something
behind that a fork breaks: threads do not survive it, and sockets, epoll sets and pipes would be
shared by workers that do not know of each other. So the process is compared before and after.
"""

from __future__ import annotations

import gc
import os
import socket
import stat
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmi_runtime import _sync

__all__ = [
    "PRELOAD_VARIABLE",
    "Footprint",
    "Reexec",
    "Verdict",
    "freeze_for_fork",
    "judge_preload",
    "plan_reexec",
    "preload_allowed",
    "take_footprint",
]

PRELOAD_VARIABLE = "LMI_PRELOAD"
"""``0`` in the environment: each worker imports the handler for itself."""

_FD_FOLDERS = (Path("/proc/self/fd"), Path("/dev/fd"))
_TASK_FOLDER = Path("/proc/self/task")


@dataclass(frozen=True, slots=True)
class Footprint:
    """
    What a process holds that a fork would break.

    Attributes:
        python_threads: Living threads Python knows of.
        native_threads: Living threads the kernel knows of, or None where it does not say.
        descriptors: Kind ("socket", "epoll set", ...) and identity of open descriptors.
    """

    python_threads: int
    native_threads: int | None
    descriptors: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    Whether workers may be forked from a process that has imported the handler.

    Attributes:
        safe: They may.
        reason: A sentence that says why not; empty when they may.
    """

    safe: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reexec:
    """Arguments for `os.execve` that start this program again, without the preloading."""

    executable: str
    argv: tuple[str, ...]
    env: Mapping[str, str]


def take_footprint(*, settle_s: float = 0.05) -> Footprint:
    """
    Look at this process; compare two looks with `judge_preload`.

    Args:
        settle_s: Seconds to wait, at most, for threads that Python has already joined: the
            kernel lists them for a moment longer.
    """
    give_up_s = _sync.monotonic() + settle_s
    python, native = _sync.thread_count(), _native_threads()
    while native is not None and native > python and _sync.monotonic() < give_up_s:
        _sync.sleep(0.001)
        python, native = _sync.thread_count(), _native_threads()
    return Footprint(python, native, _descriptors())


def judge_preload(handler: str, before: Footprint, after: Footprint) -> Verdict:
    """Decide from two looks at the process, `before` and `after` the import of `handler`."""
    left = [*_threads_left(before, after), *_descriptors_left(before, after)]
    if not left:
        return Verdict(safe=True)
    return Verdict(
        safe=False,
        reason=f"Importing {handler} left {_listed(left)} behind, which a fork would break; "
        f"each worker imports it for itself, at the cost of time and memory.",
    )


def plan_reexec(
    environ: Mapping[str, str], *, executable: str = "", argv: Sequence[str] | None = None
) -> Reexec:
    """
    How this program starts again from nothing, told not to preload.

    An exec is the only way back: what an import has started cannot be taken back.

    Args:
        environ: Usually `os.environ`.
        executable: The interpreter; by default the running one.
        argv: The command line, interpreter included; by default this program's own, with the
            interpreter's options.
    """
    line = sys.orig_argv if argv is None else argv
    program = executable or sys.executable
    return Reexec(program, (program, *line[1:]), {**environ, PRELOAD_VARIABLE: "0"})


def preload_allowed(environ: Mapping[str, str]) -> bool:
    """False when the user, or an earlier life of this process, ruled preloading out."""
    return environ.get(PRELOAD_VARIABLE, "").strip() != "0"


def freeze_for_fork() -> None:
    """
    Put everything that lives now out of the garbage collector's sight.

    A collection in a worker would otherwise touch, and thereby copy, every page it shares.
    """
    gc.collect()
    gc.freeze()


def _threads_left(before: Footprint, after: Footprint) -> list[str]:
    python = after.python_threads - before.python_threads
    if python > 0:
        return [_counted(python, "running thread")]
    if before.native_threads is None or after.native_threads is None:
        return []
    native = after.native_threads - before.native_threads
    return (
        [_counted(native, "thread of native code", "threads of native code")] if native > 0 else []
    )


def _descriptors_left(before: Footprint, after: Footprint) -> list[str]:
    kinds = Counter(kind for kind, _ in after.descriptors - before.descriptors)
    return [_counted(number, f"open {kind}") for kind, number in sorted(kinds.items())]


def _counted(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _native_threads() -> int | None:
    try:
        return len(os.listdir(_TASK_FOLDER))
    except OSError:
        return None


def _descriptors() -> frozenset[tuple[str, str]]:
    for folder in _FD_FOLDERS:
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        return frozenset(filter(None, (_describe(folder, name) for name in names)))
    return frozenset()


def _describe(folder: Path, name: str) -> tuple[str, str] | None:
    """Kind and identity of one descriptor, or None when a fork does it no harm."""
    try:
        facts = os.fstat(int(name))
    except (OSError, ValueError):
        # Most often the one `listdir` itself had open.
        return None
    # The device and inode tell a new socket on a reused number from the old one. Anonymous
    # inodes share theirs, so there the number has to do.
    identity = f"{name}:{facts.st_dev}:{facts.st_ino}"
    if stat.S_ISSOCK(facts.st_mode):
        return None if _only_sends(int(name)) else ("socket", identity)
    if stat.S_ISFIFO(facts.st_mode):
        return "pipe", identity
    anonymous = _anonymous_kind(folder / name)
    return (anonymous, identity) if anonymous else None


def _only_sends(descriptor: int) -> bool:
    """
    Whether it is a UDP socket that is tied to nobody.

    Emitters of metrics and traces open one where they are imported. Each datagram is on its own,
    whichever process sends it, and none comes back.
    """
    try:
        with socket.socket(fileno=os.dup(descriptor)) as copy:
            is_udp = copy.type == socket.SOCK_DGRAM
            if not is_udp or copy.family not in (socket.AF_INET, socket.AF_INET6):
                return False
            return copy.getsockname()[1] == 0 and not _has_peer(copy)
    except OSError:
        return False


def _has_peer(end: socket.socket) -> bool:
    try:
        end.getpeername()
    except OSError:
        return False
    return True


def _anonymous_kind(path: Path) -> str | None:
    """``eventpoll`` of ``anon_inode:[eventpoll]``, which only Linux shows."""
    try:
        target = os.readlink(path)
    except OSError:
        return None
    if not target.startswith("anon_inode:"):
        return None
    kind = target.removeprefix("anon_inode:").strip("[]")
    return {"eventpoll": "epoll set"}.get(kind, kind)
