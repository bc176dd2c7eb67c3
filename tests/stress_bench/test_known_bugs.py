"""The seeded bugs are what their README says, read without running them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from stress.bench.racing.facts import find_programs
from tests.support.repository import REPOSITORY

FOLDER = REPOSITORY / "stress" / "known_bugs" / "programs"
PROGRAMS = {facts.name: facts for facts in find_programs(FOLDER)}
NAMES = sorted(name.removesuffix("_racy") for name in PROGRAMS if name.endswith("_racy"))


def docstring(path: Path) -> str | None:
    return ast.get_docstring(ast.parse(path.read_text()))


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_there_is_nothing_but_pairs() -> None:
    files = {path.stem for path in FOLDER.glob("*.py")}

    assert files == {f"{name}_{half}" for name in NAMES for half in ("racy", "fixed")}
    assert set(PROGRAMS) == files


@pytest.mark.parametrize("name", NAMES)
def test_a_twin_differs_in_the_bug_and_in_what_it_says_of_it(name: str) -> None:
    racy, fixed = PROGRAMS[f"{name}_racy"], PROGRAMS[f"{name}_fixed"]

    assert (racy.racy, fixed.racy) == (True, False)
    assert (racy.kind, racy.fails_by) == (fixed.kind, fixed.fails_by)
    assert racy.depth is not None
    assert fixed.depth is fixed.gil_depth is None
    assert racy.gil_depth is None or racy.gil_depth >= racy.depth
    assert docstring(racy.path) == docstring(fixed.path)
    assert {"make_state", "threads", "invariant"} <= functions(racy.path) & functions(fixed.path)
