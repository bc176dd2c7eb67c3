"""
The report for programs, as JSON, and back.

The names are those of `lmi_runtime.stress.model`. In steps, places and accesses, of which there
are many, fields that have their default are left out. A change that an older reader would get
wrong raises `VERSION`.
"""

from __future__ import annotations

import enum
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lmi_runtime.stress.model import Access, Place, Report, Step
from lmi_runtime.stress.report.words import summary

__all__ = ["FORMAT", "VERSION", "from_json", "to_json"]

FORMAT = "lmi-stress-report"
VERSION = 1
SPARSE = (Step, Place, Access)


def to_json(report: Report) -> dict[str, Any]:
    """
    The report as values that `json.dumps` takes, also with ``allow_nan=False``.

    What JSON cannot say in an event (bytes, infinity, sets) becomes its repr.
    """
    return {
        "format": FORMAT,
        "version": VERSION,
        "summary": summary(report),
        **_encoded(report),
    }


def from_json(data: Mapping[str, Any]) -> Report:
    """
    The report that `to_json` wrote.

    Args:
        data: From `json.loads`. Names that are not known are passed over.

    Raises:
        ValueError: It is something else, damaged, or of a newer version.
    """
    if data.get("format") != FORMAT:
        raise ValueError(f"not a report: its format is not {FORMAT!r}")
    if data.get("version") != VERSION:
        raise ValueError(f"version {data.get('version')!r} of the report, {VERSION} is known")
    decoded = _decoded(Report, data, "report")
    assert isinstance(decoded, Report)
    return decoded


# ------------------------------------------------------------------------- there


def _encoded(value: Any) -> Any:
    match value:
        case enum.Enum():
            return value.value
        case float() if not math.isfinite(value):
            return repr(value)
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {_key(key): _encoded(item) for key, item in value.items()}
        case list() | tuple():
            return [_encoded(item) for item in value]
        case _ if is_dataclass(value):
            return {
                field.name: _encoded(getattr(value, field.name))
                for field in fields(value)
                if not (isinstance(value, SPARSE) and _is_default(field, value))
            }
        case _:
            return repr(value)


def _key(key: Any) -> str:
    if isinstance(key, enum.Enum):
        return str(key.value)
    return key if isinstance(key, str) else repr(key)


def _is_default(field: Field[Any], value: Any) -> bool:
    return field.default is not MISSING and getattr(value, field.name) == field.default


# ------------------------------------------------------------------------- and back


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _decoded(kind: Any, data: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return data  # events, which are JSON themselves
    if origin in {Union, types.UnionType}:
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        return None if data is None else _decoded(inner, data, where)
    if origin is Literal:
        return _checked(data in arguments, data, where)
    if origin is tuple:
        _checked(isinstance(data, Sequence) and not isinstance(data, str), data, where)
        return tuple(_decoded(arguments[0], x, f"{where}[{i}]") for i, x in enumerate(data))
    if origin is Mapping:
        _checked(isinstance(data, Mapping), data, where)
        key, value = arguments
        return {_decoded(key, k, where): _decoded(value, v, where) for k, v in data.items()}
    if issubclass(kind, enum.Enum):
        _checked(data in [member.value for member in kind], data, where)
        return kind(data)
    if isinstance(kind, type) and is_dataclass(kind):
        return _object(kind, data, where)
    return _plain(kind, data, where)


def _object(kind: type, data: Any, where: str) -> Any:
    _checked(isinstance(data, Mapping), data, where)
    hints, found = _hints(kind), {}
    for field in fields(kind):
        inside = f"{where}.{field.name}"
        if field.name in data:
            found[field.name] = _decoded(hints[field.name], data[field.name], inside)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{inside} is missing")
    return kind(**found)


def _plain(kind: type, data: Any, where: str) -> Any:
    if kind is float:
        _checked(isinstance(data, (int, float)) and not isinstance(data, bool), data, where)
        return float(data)
    return _checked(type(data) is kind, data, where)


def _checked(good: bool, data: Any, where: str) -> Any:
    if not good:
        raise ValueError(f"{where} cannot be {data!r:.60}")
    return data
