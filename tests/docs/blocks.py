"""
The code blocks of README.md and of the site, and what is to be done with each.

A comment right above a block says how it is run; readers do not see it:

- ``<!-- call app.handle: EVENT -> ANSWER -->``: the handler is served and called. ANSWER may be
  left out; a JSON object has to be part of what comes back, anything else equal to it; ``!TYPE``
  is an error type. ``=>`` compares text.
- ``<!-- beside: SERVER -->``: a server of that name, one of `servers`, runs meanwhile.
- ``<!-- served: app.handle -->``: the block runs while that handler is served, at the address it
  names, ``http://127.0.0.1:9000``.
- ``<!-- part of: PATH -->``: the lines are lines of a file of the examples, in the same order; a
  line of ``...`` stands for what was left out, one with a ``$`` for the command.
- ``<!-- not run: REASON -->``: counted by a test.

A block with a title, or with a file name as its first comment, is also a file of that name for
the blocks that follow on its page.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
EXAMPLES = DOCS / "examples"
SNIPPETS = (EXAMPLES, DOCS / "diagrams", REPOSITORY)
PAGES = (REPOSITORY / "README.md", *sorted((DOCS / "pages").rglob("*.md")))

_FENCE = re.compile(r"(?P<indent> *)(?P<ticks>`{3,})(?P<language>\w*) *(?P<rest>[^`]*)\Z")
_TITLE = re.compile(r'title="(?P<name>[^"]+)"')
_FIRST_COMMENT = re.compile(r"# (?P<name>[\w/]+\.py)\n")
_DIRECTIVE = re.compile(
    r"\s*<!--\s*(?P<name>call|beside|served|part of|not run)\s*:?\s*(?P<value>.*?)\s*-->\s*\Z"
)
_SNIPPET = re.compile(r'^ *--8<-- "(?P<name>[^"]+)" *$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """
    One fenced block.

    Attributes:
        page: The page's path from the top of the repository.
        line: Number of its opening fence.
        language: What the fence says; empty if it says nothing.
        text: Its lines, without the page's indentation, snippets included.
        file: Name of the file that it is, or None.
        directives: Name and value of each comment above it.
    """

    page: str
    line: int
    language: str
    text: str
    file: str | None
    directives: tuple[tuple[str, str], ...] = field(default=())

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def values(self, directive: str) -> list[str]:
        """Return what all comments of one kind say."""
        return [value for name, value in self.directives if name == directive]


def parse(text: str, page: str = "page.md") -> Iterator[Block]:
    """
    Yield the blocks of a page.

    Raises:
        ValueError: A fence is not closed.
    """
    lines = enumerate(text.splitlines(), 1)
    directives: list[tuple[str, str]] = []
    for number, line in lines:
        if said := _DIRECTIVE.match(line):
            directives.append((said["name"], said["value"]))
        elif fence := _FENCE.match(line):
            body = _body(lines, fence, f"{page}:{number}")
            yield Block(
                page, number, fence["language"], body, _file(fence, body), tuple(directives)
            )
            directives = []
        elif line.strip():
            directives = []


def _body(lines: Iterator[tuple[int, str]], fence: re.Match[str], where: str) -> str:
    inside: list[str] = []
    for _, line in lines:
        if line.strip() == fence["ticks"]:
            body = textwrap.dedent("\n".join(inside)) + "\n"
            return _SNIPPET.sub(lambda found: _snippet(found["name"]), body)
        inside.append(line)
    raise ValueError(f"{where}: the block is not closed")


def _snippet(name: str) -> str:
    path = next(folder / name for folder in SNIPPETS if (folder / name).is_file())
    return path.read_text().rstrip("\n")


def _file(fence: re.Match[str], body: str) -> str | None:
    found = _TITLE.search(fence["rest"]) or _FIRST_COMMENT.match(body)
    return None if found is None else found["name"]


def all_blocks() -> list[Block]:
    """Return every block of every page, in order."""
    return [
        block
        for page in PAGES
        for block in parse(page.read_text(), page.relative_to(REPOSITORY).as_posix())
    ]


def python_blocks() -> list[Block]:
    """Return the Python blocks that are to be run."""
    return [b for b in all_blocks() if b.language in {"python", "py"} and not b.values("not run")]


def files_before(block: Block) -> dict[str, str]:
    """Return the files that a block's page has made when it comes to the block, itself included."""
    return {
        other.file: other.text
        for other in all_blocks()
        if other.page == block.page and other.line <= block.line and other.file is not None
    }
