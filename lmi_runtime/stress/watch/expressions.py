"""What the stack simulation knows of a value: an expression a frame can be asked for later."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = [
    "Attr",
    "Const",
    "Deref",
    "Expr",
    "Fresh",
    "Global",
    "Item",
    "Local",
    "Method",
    "Mode",
    "Null",
    "Touch",
    "TouchKind",
    "Unknown",
    "View",
    "mentions",
    "text",
]

Mode = Literal["read", "write", "update"]
TouchKind = Literal["attribute", "item", "whole", "contains", "global", "cell", "call"]


@dataclass(frozen=True, slots=True)
class Unknown:
    """Some value; the words are for labels only."""

    words: str = "?"


@dataclass(frozen=True, slots=True)
class Fresh:
    """A value just made, or immutable: no other thread can be interested in it."""

    words: str = "?"


@dataclass(frozen=True, slots=True)
class Null:
    """The empty slot beside a callable."""


@dataclass(frozen=True, slots=True)
class Local:
    """A local variable."""

    name: str


@dataclass(frozen=True, slots=True)
class Global:
    """A module global or a builtin."""

    name: str


@dataclass(frozen=True, slots=True)
class Deref:
    """A variable shared with an enclosing or a nested function."""

    name: str


@dataclass(frozen=True, slots=True)
class Const:
    """A constant of the code; compared by type as well, since ``1 == True``."""

    value: Any = field(compare=False)
    shown: str


@dataclass(frozen=True, slots=True)
class Attr:
    """An attribute."""

    base: Expr
    name: str


@dataclass(frozen=True, slots=True)
class Item:
    """What a subscript gives."""

    base: Expr
    key: Expr


@dataclass(frozen=True, slots=True)
class Method:
    """An attribute loaded in order to be called at once."""

    base: Expr
    name: str


@dataclass(frozen=True, slots=True)
class View:
    """Reads from `base` as it is used: an iterator, ``d.items()``, ``enumerate(x)``."""

    base: Expr


Expr: TypeAlias = (
    Unknown | Fresh | Null | Local | Global | Deref | Const | Attr | Item | Method | View
)


@dataclass(frozen=True, slots=True)
class Touch:
    """
    One piece of state an instruction touches, to be found out in a live frame.

    Attributes:
        kind: ``attribute`` and ``item`` of `base`, the ``whole`` container `base`, ``contains``
            (item or whole, as its type wants), ``global``, ``cell``, or ``call``: the method
            `name` of `base`, which matters only if that is a builtin container.
        mode: For ``call`` the type of the container decides.
        base: The object that holds it.
        name: Attribute, variable or method.
        key: Of the item.
        args: Positional arguments of a call.
        value: About to be stored.
    """

    kind: TouchKind
    mode: Mode
    base: Expr = Unknown()
    name: str = ""
    key: Expr | None = None
    args: tuple[Expr, ...] = ()
    value: Expr | None = None


def text(expr: Expr) -> str:
    """What a person would write for it, the same on every Python."""
    match expr:
        case Local(name) | Global(name) | Deref(name):
            return name
        case Const(_, shown):
            return shown
        case Attr(base, name) | Method(base, name):
            return f"{text(base)}.{name}"
        case Item(base, key):
            return f"{text(base)}[{text(key)}]"
        case View(base):
            return text(base)
        case Unknown(words) | Fresh(words):
            return words
        case _:
            return "?"


def mentions(expr: Expr, variable: Local | Global | Deref) -> bool:
    """Whether storing `variable` makes the expression mean something else."""
    match expr:
        case Attr(base, _) | Method(base, _) | View(base):
            return mentions(base, variable)
        case Item(base, key):
            return mentions(base, variable) or mentions(key, variable)
        case _:
            return expr == variable
