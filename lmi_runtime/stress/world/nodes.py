"""Values as plain, comparable trees, and where two of them differ."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

__all__ = [
    "ABSENT",
    "Difference",
    "Node",
    "Tree",
    "blank",
    "differences",
    "render",
    "sizes",
    "unordered",
]


class Node(NamedTuple):
    """
    A value that is more than a string or a number.

    Attributes:
        kind: ``dict``, ``list``, ``tuple``, ``set``, ``object``, ``leaf``, ``size``, ``opaque``,
            ``again`` (an object that contains itself), ``cut``, ``absent``, ``masked``.
        type: Name of its class, as a person would write it.
        parts: Pairs for ``dict`` and ``object``, values for the other containers.
        text: Of a leaf; how far up of ``again``.
        size: How many for ``size``, else 0.
        bounded: It cannot grow for ever, so its size says nothing about leaks.
    """

    kind: str
    type: str = ""
    parts: tuple[Any, ...] = ()
    text: str = ""
    size: int = 0
    bounded: bool = False


Tree: TypeAlias = Any
"""None, bool, int, float, str, bytes or a `Node`: nothing else, and never NaN."""

Steps: TypeAlias = tuple[str, ...]

ABSENT = Node("absent")
MASKED = Node("masked")

_SEQUENCES = ("list", "tuple")


@dataclass(frozen=True, slots=True)
class Difference:
    """
    One place where two trees are not the same.

    Attributes:
        steps: The way to it, such as ``("app.COUNTS", "['u1']")``.
        left: What the first tree has there, or `ABSENT`.
        right: What the second tree has there.
    """

    steps: Steps
    left: Tree
    right: Tree

    @property
    def path(self) -> str:
        """The way to it, as a person would write it."""
        return "".join(self.steps)

    @property
    def pattern(self) -> Steps:
        """
        The way to this and to its likes, for a mask.

        Positions in a list do not count; a key that only one side has stands for the whole
        container, because the next run will have yet another key.
        """
        steps = self.steps
        if self.left == ABSENT or self.right == ABSENT:
            steps = steps[:-1] or steps
        return tuple("[*]" if _is_position(step) else step for step in steps)


def differences(left: Tree, right: Tree, steps: Steps = ()) -> Iterator[Difference]:
    """Where two trees differ, as deep as it can be said."""
    if left == right:
        return
    if not _comparable(left, right):
        yield Difference(steps, left, right)
        return
    if left.kind == "dict":
        yield from _by_key(dict(left.parts), dict(right.parts), steps, "[{}]")
    elif left.kind == "object":
        yield from _by_key(dict(left.parts), dict(right.parts), steps, ".{}")
    elif left.kind == "set":
        for part in _only_in(left.parts, right.parts):
            yield Difference((*steps, f"{{{render(part)}}}"), part, ABSENT)
        for part in _only_in(right.parts, left.parts):
            yield Difference((*steps, f"{{{render(part)}}}"), ABSENT, part)
    else:
        for index, (one, other) in enumerate(zip(left.parts, right.parts, strict=True)):
            yield from differences(one, other, (*steps, f"[{index}]"))


def _comparable(left: Tree, right: Tree) -> bool:
    if not isinstance(left, Node) or not isinstance(right, Node):
        return False
    if left.kind != right.kind or left.type != right.type:
        return False
    if left.kind in _SEQUENCES:
        return len(left.parts) == len(right.parts)
    return left.kind in ("dict", "object", "set")


def _by_key(
    left: Mapping[Tree, Tree], right: Mapping[Tree, Tree], steps: Steps, form: str
) -> Iterator[Difference]:
    for key in dict.fromkeys((*left, *right)):
        name = key if form[0] == "." else render(key)
        yield from differences(
            left.get(key, ABSENT), right.get(key, ABSENT), (*steps, form.format(name))
        )


def _only_in(these: Sequence[Tree], those: Sequence[Tree]) -> list[Tree]:
    return list((Counter(these) - Counter(those)).elements())


def _is_position(step: str) -> bool:
    return step[:1] == "[" and step[1:-1].isdigit()


def blank(tree: Tree, mask: frozenset[Steps], steps: Steps = ()) -> Tree:
    """The tree, with everything that `mask` covers taken out."""
    if steps in mask:
        return MASKED
    if not isinstance(tree, Node) or not tree.parts:
        return tree
    if tree.kind == "dict":
        parts = tuple((k, blank(v, mask, (*steps, f"[{_key(k)}]"))) for k, v in tree.parts)
    elif tree.kind == "object":
        parts = tuple((k, blank(v, mask, (*steps, f".{k}"))) for k, v in tree.parts)
    else:
        parts = tuple(blank(part, mask, (*steps, "[*]")) for part in tree.parts)
    return tree._replace(parts=parts)


def _key(key: Tree) -> str:
    step = f"[{render(key)}]"
    return "*" if _is_position(step) else step[1:-1]


def unordered(tree: Tree) -> Tree:
    """The tree with the order of its lists taken out; that of tuples stays."""
    if not isinstance(tree, Node) or not tree.parts:
        return tree
    if tree.kind in ("dict", "object"):
        return tree._replace(parts=tuple((key, unordered(part)) for key, part in tree.parts))
    parts = [unordered(part) for part in tree.parts]
    if tree.kind == "list":
        parts.sort(key=repr)
    return tree._replace(parts=tuple(parts))


def sizes(state: Mapping[str, Tree]) -> dict[str, int]:
    """How many things each container holds that could grow for ever, by path."""
    found: dict[str, int] = {}
    for path, tree in state.items():
        _measure(tree, path, found.__setitem__)
    return found


def _measure(tree: Tree, path: str, note: Callable[[str, int], None]) -> None:
    if not isinstance(tree, Node) or tree.bounded:
        return
    if tree.kind == "size":
        note(path, tree.size)
    elif tree.kind in ("dict", "list", "set"):
        note(path, len(tree.parts))
    for index, part in enumerate(tree.parts):
        if tree.kind == "dict":
            _measure(part[1], f"{path}[{render(part[0])}]", note)
        elif tree.kind == "object":
            _measure(part[1], f"{path}.{part[0]}", note)
        elif tree.kind in _SEQUENCES:
            _measure(part, f"{path}[{index}]", note)


_BRACKETS = {"list": ("[", "]"), "tuple": ("(", ")"), "set": ("{", "}"), "dict": ("{", "}")}


def render(tree: Tree, limit: int = 60) -> str:
    """
    The value as a person would write it.

    Args:
        tree: What to write.
        limit: Characters; a longer text is replaced by what kind of thing it is and how much
            it holds, because the beginnings of two long lists look the same.
    """
    text = _text(tree)
    if len(text) <= limit:
        return text
    if isinstance(tree, Node) and tree.kind in _BRACKETS:
        return f"{tree.type} of {len(tree.parts)}"
    if isinstance(tree, Node) and tree.kind == "object":
        return f"<{tree.type}>"
    return f"{text[: limit - 3]}..."


def _text(tree: Tree) -> str:
    if not isinstance(tree, Node):
        return repr(tree)
    if tree.kind in _BRACKETS:
        return _container_text(tree)
    if tree.kind == "object":
        inside = ", ".join(f"{name}={_text(part)}" for name, part in tree.parts)
        return f"{tree.type}({inside})"
    if tree.kind == "leaf":
        return tree.text
    if tree.kind == "size":
        return f"<{tree.type} of {tree.size}>"
    return {"absent": "absent", "masked": "...", "cut": "...", "again": "<itself>"}.get(
        tree.kind, f"<{tree.type}>"
    )


def _container_text(tree: Node) -> str:
    if tree.kind == "dict":
        inside = ", ".join(f"{_text(key)}: {_text(part)}" for key, part in tree.parts)
    else:
        inside = ", ".join(map(_text, tree.parts))
        inside += "," if tree.kind == "tuple" and len(tree.parts) == 1 else ""
    if tree.kind == "set" and not tree.parts:
        return "set()"
    begin, end = _BRACKETS[tree.kind]
    return f"{begin}{inside}{end}"


def number(value: float) -> Tree:
    """A float that equals itself."""
    return Node("leaf", "float", text="nan") if math.isnan(value) else value
