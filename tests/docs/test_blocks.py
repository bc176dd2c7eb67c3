"""Every Python block of README.md and of the site runs, and does what the page says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from lmi_runtime.emulator import Answer
from tests.docs.blocks import (
    EXAMPLES,
    REPOSITORY,
    Block,
    all_blocks,
    files_before,
    parse,
    python_blocks,
)
from tests.docs.servers import SERVERS
from tests.docs.serving import TRACED, mismatch, read_call, serving
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.system

_LOCAL = "http://127.0.0.1:9000"

NOT_RUN = 0
"""How many blocks no test runs. Raise it only with a reason that no emulator can take away."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the example files, as a reader has them."""
    for path in EXAMPLES.glob("*.py"):
        shutil.copy(path, tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", python_blocks(), ids=str)
def test_block_does_what_its_page_says(block: Block, folder: Path) -> None:
    pytest.importorskip("boto3") if "import boto3" in block.text else None
    for name, text in files_before(block).items():
        (folder / name).write_text(text)

    calls = block.values("call")
    if calls:
        with contextlib.ExitStack() as servers:
            variables = {"TMPDIR": str(folder)}
            for name in block.values("beside"):
                variables |= servers.enter_context(SERVERS[name]())
            asyncio.run(_make_calls(calls, folder, variables))
    elif served := block.values("served"):
        asyncio.run(_run_beside(served[0], block.text, folder))
    else:
        _run(block.text, folder)


async def _make_calls(calls: list[str], folder: Path, variables: Mapping[str, str]) -> None:
    for text in calls:
        call = read_call(text)
        async with (
            asyncio.timeout(PATIENCE_S),
            serving(call.handler, folder, variables) as emulator,
        ):
            answer = await emulator.invoke(call.event, TRACED)
        assert mismatch(call, answer) is None


async def _run_beside(handler: str, text: str, folder: Path) -> None:
    assert _LOCAL in text, "a block that is served calls the address `lmi run` prints"
    async with asyncio.timeout(PATIENCE_S), serving(handler, folder) as emulator:
        await asyncio.to_thread(_run, text.replace(_LOCAL, emulator.endpoint_url), folder)


def _run(text: str, folder: Path) -> None:
    """Run a block as a program of its own; a warning is an error, a hang is one too."""
    (folder / "the_block.py").write_text(text)
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-W",
            "ignore::DeprecationWarning:botocore",
            "the_block.py",
        ],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": f"{folder}{os.pathsep}{REPOSITORY}",
            "TMPDIR": str(folder),
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_blocks_that_no_test_runs_are_few_and_say_why() -> None:
    reasons = {str(b): why for b in all_blocks() for why in b.values("not run")}

    assert all(len(why.split()) >= 3 for why in reasons.values()), reasons
    assert len(reasons) == NOT_RUN, reasons


def test_every_page_with_a_language_we_run_was_found() -> None:
    """The parser has to see what a plain count of fences sees."""
    fences = {
        page: (REPOSITORY / page).read_text().count("```python")
        for page in {block.page for block in all_blocks()}
    }
    found = [block.page for block in all_blocks() if block.language == "python"]

    assert {page: found.count(page) for page in fences} == fences


# ---- what the tests above stand on


def test_parser_takes_comments_titles_and_indented_blocks() -> None:
    page = (
        "<!-- call app.handle: {} -> {} -->\n\n"
        '```python title="app.py"\nx = 1\n```\n\n'
        "text\n\n    ```python\n    # other.py\n    y = 2\n    ```\n"
    )

    first, second = parse(page)

    assert (first.file, first.text, first.values("call")) == (
        "app.py",
        "x = 1\n",
        ["app.handle: {} -> {}"],
    )
    assert (second.file, second.text) == ("other.py", "# other.py\ny = 2\n")
    assert second.directives == ()


def test_comment_belongs_to_the_next_block_only() -> None:
    blocks = list(parse("<!-- not run: it is old -->\ntext between\n```python\n```\n"))

    assert blocks[0].directives == ()


def test_unclosed_block_is_an_error() -> None:
    with pytest.raises(ValueError, match="not closed"):
        list(parse("```python\nx = 1\n"))


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        ('a.b: {} -> {"x": 1}', Answer(200, b'{"x": 1, "y": 2}'), True),
        ('a.b: {} -> {"x": 1}', Answer(200, b'{"x": 2}'), False),
        ("a.b: {} => ab", Answer(200, b"ab"), True),
        ("a.b: {} => ab", Answer(200, b"abc"), False),
        ("a.b: {}", Answer(200, b"anything"), True),
        ("a.b: {}", Answer(200, b"{}", "Function.ValueError"), False),
        ("a.b: {} -> !Function.ValueError", Answer(200, b"{}", "Function.ValueError"), True),
        ("a.b: {} -> !Function.ValueError", Answer(200, b"{}"), False),
    ],
)
def test_answers_are_compared(text: str, answer: Answer, right: bool) -> None:
    assert (mismatch(read_call(text), answer) is None) is right
