"""
Plan the private mount namespace that AWS's emulator runs in.

The emulator insists on `/var/task/bootstrap` and starts it as uid 993. The interpreter, its
environment and this repository often live under a folder that only root may enter (a home
directory is 0700). Such a folder is covered, inside the namespace only, by an empty one that
anybody may enter, and the trees that are needed are bound back at their own paths.
"""

from __future__ import annotations

import shlex
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

TASK_ROOT = Path("/var/task")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """
    What must be mounted so that an unprivileged user can read *trees*.

    Attributes:
        covers: Folders to hide under an empty, searchable one.
        binds: Trees below a cover, to be bound back at the same path.
    """

    covers: tuple[Path, ...]
    binds: tuple[Path, ...]


def decide_sandbox(trees: Iterable[Path], *, private: frozenset[Path]) -> Sandbox:
    """Return the mounts for *trees*, given the folders that others cannot enter."""
    covers: set[Path] = set()
    binds: set[Path] = set()
    for tree in trees:
        # Outermost first: one cover also hides the closed folders further down.
        closed = next((parent for parent in reversed(tree.parents) if parent in private), None)
        if closed is not None:
            covers.add(closed)
            binds.add(tree)
    return Sandbox(tuple(sorted(covers)), _outermost(binds))


def private_folders(trees: Iterable[Path]) -> frozenset[Path]:
    """Return every parent of *trees* that users other than the owner cannot enter."""
    parents = {parent for tree in trees for parent in tree.parents}
    return frozenset(p for p in parents if not p.stat().st_mode & stat.S_IXOTH)


def render_mounts(sandbox: Sandbox, *, staging: Path) -> str:
    """
    Return shell commands that mount *sandbox*, holding the trees in *staging* meanwhile.

    The binds are taken before anything is covered, because a cover hides them.
    """
    held = [(staging / f"bind-{i}", tree) for i, tree in enumerate(sandbox.binds)]
    lines = [
        *(_shell("mkdir", "-p", hold) for hold, _ in held),
        *(_shell("mount", "--bind", tree, hold) for hold, tree in held),
        *(_shell("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", c) for c in sandbox.covers),
        *(_shell("mkdir", "-p", tree) for _, tree in held),
        *(_shell("mount", "--bind", hold, tree) for hold, tree in held),
    ]
    return "\n".join(lines)


def render_task_root(code: Path) -> str:
    """Return shell commands that put a copy of *code* at `/var/task`, readable by all."""
    return "\n".join(
        [
            _shell("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", TASK_ROOT),
            _shell("cp", "-R", f"{code}/.", TASK_ROOT),
            _shell("chmod", "-R", "a+rX", TASK_ROOT),
            _shell("chmod", "755", TASK_ROOT / "bootstrap"),
            _shell("cd", TASK_ROOT),
        ]
    )


def _outermost(trees: set[Path]) -> tuple[Path, ...]:
    return tuple(sorted(t for t in trees if not trees.intersection(t.parents)))


def _shell(*words: object) -> str:
    return shlex.join([str(word) for word in words])


def render_exec(command: Sequence[object]) -> str:
    """Return the shell line that becomes *command*."""
    return f"exec {_shell(*command)}"
