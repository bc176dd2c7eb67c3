"""Text from users' programs, made fit to be shown: nothing invisible, nothing too wide."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from typing import Any

__all__ = ["clip", "compact_json", "one_line", "visible", "width_of", "wrap"]

ELLIPSIS = "…"
INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories: controls, bidirectional marks, lone surrogates, line separators."""


def visible(text: str) -> str:
    """Escape what a terminal or a reader would obey instead of see. Newlines stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible_character, text))


def _visible_character(character: str) -> str:
    if character == "\n" or unicodedata.category(character) not in INVISIBLE:
        return character
    if character == "\t":
        return "    "
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def one_line(text: str) -> str:
    """Like `visible`, and newlines become ``\\n``."""
    return visible(text).replace("\n", "\\n")


def compact_json(value: Any) -> str:
    """An event on one line; what JSON cannot say appears as its repr."""
    try:
        said = json.dumps(value, ensure_ascii=False, default=repr)
    except (TypeError, ValueError, RecursionError):
        said = repr(value)
    return one_line(said)


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def width_of(text: str) -> int:
    """Columns a terminal needs for it."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def clip(text: str, width: int) -> str:
    """Cut to `width` columns, with an ellipsis where something is missing."""
    if width_of(text) <= width:
        return text
    kept, used = [], 1
    for character in text:
        used += _cells(character)
        if used > width:
            break
        kept.append(character)
    return "".join(kept) + ELLIPSIS


def wrap(text: str, width: int, *, lines: int = 1000, indent: int = 0) -> list[str]:
    """
    Break into lines of at most `width` columns, at spaces where that is possible.

    Args:
        text: One line or several.
        width: Columns.
        lines: More than so many are cut, the last one with an ellipsis.
        indent: Spaces before every line but the first of a paragraph; they count.
    """
    found = [line for part in text.split("\n") for line in _wrapped(part, width, indent)]
    if len(found) <= lines:
        return found
    return [*found[: lines - 1], clip(found[lines - 1], width - 1).rstrip(ELLIPSIS) + ELLIPSIS]


def _wrapped(text: str, width: int, indent: int) -> Iterator[str]:
    before = ""
    while width_of(text) > width - len(before):
        cut = len(_fitting(text, width - len(before)))
        space = text.rfind(" ", width // 3, cut + 1)
        end = space if space > 0 else cut
        yield before + text[:end]
        text = text[end + (space > 0) :]
        before = " " * indent
    yield before + text


def _fitting(text: str, width: int) -> str:
    used = 0
    for position, character in enumerate(text):
        used += _cells(character)
        if used > width:
            return text[: max(position, 1)]
    return text
