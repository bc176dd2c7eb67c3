"""What is known about a racy program, read without running it."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Facts", "find_programs", "read_facts"]


@dataclass(frozen=True, slots=True)
class Facts:
    """
    What a program says of itself.

    Attributes:
        path: Its file.
        kind: ``thread`` or ``async``.
        racy: False for a mended twin.
        depth: The fewest preemptions that show the bug on any build; None for a twin.
        gil_depth: The same where a build with the GIL can switch; None where it cannot happen.
        fails_by: ``invariant``, ``exception`` or ``deadlock``.
    """

    path: Path
    kind: str
    racy: bool
    depth: int | None = None
    gil_depth: int | None = None
    fails_by: str = "invariant"

    @property
    def name(self) -> str:
        """Of the file, without its suffix."""
        return self.path.stem


def read_facts(path: Path) -> Facts | None:
    """
    Read the constants of a program; importing it would be up to the checker.

    Returns:
        None when the file is no program.
    """
    constants = dict(_constants(ast.parse(path.read_text(), str(path))))
    if not {"KIND", "RACY"} <= set(constants):
        return None
    return Facts(
        path=path,
        kind=constants["KIND"],
        racy=constants["RACY"],
        depth=constants.get("DEPTH"),
        gil_depth=constants.get("GIL_DEPTH"),
        fails_by=constants.get("FAILS_BY", "invariant"),
    )


def _constants(tree: ast.Module) -> list[tuple[str, Any]]:
    found = []
    for node in tree.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        try:
            found.append((node.targets[0].id, ast.literal_eval(node.value)))
        except ValueError:
            continue
    return found


def find_programs(folder: Path, only: Sequence[str] = ()) -> list[Facts]:
    """
    List the programs in a folder by name.

    Args:
        folder: Where they lie.
        only: Parts of names; empty for all of them.

    Raises:
        FileNotFoundError: There is no program.
    """
    paths = [path for path in sorted(folder.glob("*.py")) if _wanted(path.stem, only)]
    programs = [facts for path in paths if (facts := read_facts(path)) is not None]
    if not programs:
        raise FileNotFoundError(f"no racy program in {folder}")
    return programs


def _wanted(name: str, only: Sequence[str]) -> bool:
    return not only or any(part in name for part in only)
