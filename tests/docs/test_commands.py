"""Commands in README.md and on the site exist, with the options they are given there."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator

import pytest

from lmi_runtime import bootstrap, cli
from lmi_runtime.cli import invoke, load, run, stress
from tests.docs.blocks import PAGES, REPOSITORY, Block, all_blocks
from tests.support.repository import pyproject

# Programs of other people, which are not tried.
_OTHERS = {"docker", "echo", "sam", "terraform", "aws", "curl", "bash", "towncrier"}
_SHELLS = {"console", "sh", "bash", "shell"}


def commands_in(block: Block) -> Iterator[list[str]]:
    """Yield the words of each command, without comments; a pipe makes two."""
    text = block.text.replace("\\\n", " ")
    prompted = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    for line in prompted if block.language == "console" else text.splitlines():
        words = shlex.split(line, comments=True)
        while "|" in words:
            cut = words.index("|")
            yield words[:cut]
            words = words[cut + 1 :]
        if words:
            yield words


def _commands() -> list[tuple[str, list[str]]]:
    return [(str(b), c) for b in all_blocks() if b.language in _SHELLS for c in commands_in(b)]


@pytest.fixture(autouse=True)
def _nothing_is_executed(monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (run, invoke, load, stress):
        monkeypatch.setattr(command, "_execute", lambda arguments: 0)
    monkeypatch.setattr(bootstrap, "run", lambda handler, mode=None: 0)


@pytest.mark.parametrize(
    ("where", "words"), _commands(), ids=lambda v: v if isinstance(v, str) else " ".join(v)
)
def test_command_exists_with_its_options(where: str, words: list[str]) -> None:
    assert _check(words), f"{where}: nobody knows {words}"


def _check(words: list[str]) -> bool:
    match words:
        case ["lmi", *arguments]:
            return cli.main(arguments) == 0
        case ["python", "-m", "lmi_runtime", *arguments]:
            return bootstrap.main(arguments) == 0
        case ["python", "-m", module, *_] if module.startswith("stress."):
            path = REPOSITORY.joinpath(*module.split("."))
            return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
        case ["pytest", *_] | ["python", "-m", ("build" | "compileall" | "pytest"), *_]:
            return True
        case ["pip", "install", *packages]:
            return all(map(_is_installable, packages))
        case ["make", target, *_]:
            return (
                re.search(rf"^{target}:", (REPOSITORY / "Makefile").read_text(), re.M) is not None
            )
        case ["docker", "exec", _, *inside]:
            return _check(inside)
        case [program, *_]:
            return program in _OTHERS
    return False


def _is_installable(package: str) -> bool:
    named = re.fullmatch(r"lmi_runtime(?:\[(?P<extras>[\w,]+)\])?", package)
    if named is None:
        return False
    extras = pyproject()["project"]["optional-dependencies"]
    return set((named["extras"] or "all").split(",")) <= set(extras)


def test_dockerfiles_start_what_exists() -> None:
    dockerfiles = [b for b in all_blocks() if b.language == "dockerfile"]
    started = []
    for block in dockerfiles:
        words = [
            json.loads(found)
            for key in ("ENTRYPOINT", "CMD")
            for found in re.findall(rf"^{key} (\[.*\])$", block.text, re.MULTILINE)
        ]
        started.append(_check([word for part in words for word in part]))

    assert started
    assert all(started)


def test_pages_show_commands() -> None:
    """An empty list of commands would pass every test above."""
    assert {where.split(":")[0] for where, _ in _commands()} >= {
        "README.md",
        "docs/pages/getting-started.md",
    }
    assert len(PAGES) > 10


@pytest.mark.parametrize(
    "words",
    [
        ["lmi", "load", "a.b", "--speed", "9"],
        ["lmi", "fly", "a.b"],
        ["lmi", "run", "a.b", "--mode", "fast"],
        ["python", "-m", "lmi_runtime", "--port", "1"],
        ["make", "coffee"],
        ["pip", "install", "lmi_runtime[tea]"],
        ["rm", "-rf", "x"],
    ],
    ids=" ".join,
)
def test_commands_that_do_not_exist_are_found(words: list[str]) -> None:
    try:
        found = _check(words)
    except SystemExit as error:
        found = error.code == 0
    assert not found
