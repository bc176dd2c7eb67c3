"""Which cell a frame's closure variable lives in: frames do not say."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Mapping
from types import CellType, CodeType, FrameType, FunctionType
from typing import Any

__all__ = ["cell_of"]

_functions: dict[int, list[weakref.ref[FunctionType]]] = {}


def cell_of(frame: FrameType, name: str) -> CellType | None:
    """
    The cell of `name`, or None if it cannot be told from another one.

    Found through the functions that close over it, by the values they share with the frame: a
    scan of all objects the first time a function is seen, so for recorded runs only.

    Thread safety: as long as one watched thread runs at a time.
    """
    values = frame.f_locals
    code = frame.f_code
    codes = [code] if name in code.co_freevars else list(_nested(code, name))
    cells: dict[int, CellType] = {}
    for candidate in codes:
        for function in _closures(candidate, values, name):
            cell = _closed_over(function)[name]
            cells[id(cell)] = cell
    return next(iter(cells.values())) if len(cells) == 1 else None


def _nested(code: CodeType, name: str) -> list[CodeType]:
    return [
        constant
        for constant in code.co_consts
        if isinstance(constant, CodeType) and name in constant.co_freevars
    ]


def _closures(code: CodeType, values: Mapping[str, Any], name: str) -> list[FunctionType]:
    known = [function for ref in _functions.get(id(code), ()) if (function := ref()) is not None]
    fitting = [function for function in known if _fits(function, code, values, name)]
    if fitting:
        return fitting
    # A code object is kept alive by its functions, so a reused id shows as a code that differs.
    seen = [
        referrer
        for referrer in gc.get_referrers(code)
        if type(referrer) is FunctionType and referrer.__code__ is code
    ]
    _functions[id(code)] = [weakref.ref(function) for function in seen]
    return [function for function in seen if _fits(function, code, values, name)]


def _fits(function: FunctionType, code: CodeType, values: Mapping[str, Any], name: str) -> bool:
    """Whether each variable both have holds the same object."""
    if function.__code__ is not code:
        return False
    closed_over = _closed_over(function)
    return name in closed_over and all(
        _content(cell) is values.get(variable, _EMPTY) for variable, cell in closed_over.items()
    )


_EMPTY = object()


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # nothing in it yet
        return _EMPTY


def _closed_over(function: FunctionType) -> dict[str, CellType]:
    return dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
