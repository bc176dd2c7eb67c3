"""
Frozen facts, at a tenth of what `dataclass` takes of a start.

`dataclass` writes the methods of every class as text and compiles it, in each process anew, and
imports `inspect` for that. What a function imports before it serves anything uses `Facts`; the
runtime itself, which is imported once and then forked, may use either.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, dataclass_transform

if TYPE_CHECKING:
    from dataclasses import Field

__all__ = ["Facts"]


@dataclass_transform(kw_only_default=True, frozen_default=True)
class _FactsType(type):
    """Gives a class a slot for each annotation, and keeps what stood beside it as its default."""

    _names: tuple[str, ...]
    _in_order: tuple[str, ...]
    _told: tuple[str, ...]
    _hints: Mapping[str, str]
    _defaults: Mapping[str, Any]

    def __new__(
        mcs,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        kw_only: bool = True,
        apart: tuple[str, ...] = (),
    ) -> _FactsType:
        hints: dict[str, str] = namespace.get("__annotations__", {})
        names = tuple(name for name in hints if not hints[name].startswith("ClassVar"))
        defaults = {name: namespace.pop(name) for name in names if name in namespace}
        kind = super().__new__(mcs, name, bases, {**namespace, "__slots__": names})
        kind._names, kind._hints, kind._defaults = names, hints, defaults
        kind._in_order = () if kw_only else names
        kind._told = tuple(name for name in names if name not in apart)
        return kind


class _Lazily:
    """An attribute of all classes of facts that is looked up in the dataclass they stand for."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, facts: object, kind: _FactsType) -> Any:
        if self._name == "__signature__":
            import inspect

            return inspect.signature(_dataclass_of(kind))
        return getattr(_dataclass_of(kind), self._name)


class Facts(metaclass=_FactsType):
    """
    Base of classes like those of ``@dataclass(frozen=True, slots=True, kw_only=True)``, or with
    ``kw_only=False`` if they say so.

    Annotate the fields in a module with ``from __future__ import annotations``. Fields that the
    class names as `apart` are neither compared nor shown. `dataclasses.fields`, `replace` and
    `asdict` take its instances. Subclasses of subclasses have no fields of their own.

    Thread safety: instances never change.
    """

    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    else:
        __dataclass_fields__ = _Lazily()
        __signature__ = _Lazily()

        def __init__(self, *in_order: object, **given: object) -> None:
            kind = type(self)
            if in_order:
                names = kind._in_order[: len(in_order)]
                if len(names) < len(in_order) or not given.keys().isdisjoint(names):
                    _dataclass_of(kind)(*in_order, **given)  # says what is wrong
                given.update(zip(names, in_order, strict=True))
            values = {**kind._defaults, **given}
            if values.keys() != {*kind._names}:
                _dataclass_of(kind)(**given)  # says what is wrong
            for name, value in values.items():
                _set(self, name, value)
            self.__post_init__()

        def __setattr__(self, name: str, value: object) -> NoReturn:
            raise _frozen(f"cannot assign to field {name!r}")

        def __delattr__(self, name: str) -> NoReturn:
            raise _frozen(f"cannot delete field {name!r}")

    def __post_init__(self) -> None:
        """Check the values; for subclasses."""

    def __replace__(self, /, **changes: Any) -> Self:
        return type(self)(**{**_values(self), **changes})

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return _compared(self) == _compared(other)

    def __hash__(self) -> int:
        return hash(_compared(self))

    def __repr__(self) -> str:
        kind = type(self)
        told = ", ".join(f"{name}={getattr(self, name)!r}" for name in kind._told)
        return f"{kind.__qualname__}({told})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (type(self), _values(self))


_set = object.__setattr__


def _values(facts: Facts) -> dict[str, Any]:
    return {name: getattr(facts, name) for name in type(facts)._names}


def _compared(facts: Any) -> tuple[Any, ...]:
    return tuple(getattr(facts, name) for name in type(facts)._told)


def _made(kind: type[Facts], values: dict[str, Any]) -> Facts:
    return kind(**values)


def _frozen(text: str) -> AttributeError:
    from dataclasses import FrozenInstanceError

    return FrozenInstanceError(text)


@functools.cache
def _dataclass_of(kind: _FactsType) -> type[Any]:
    """What `kind` would be otherwise."""
    from dataclasses import MISSING, field, make_dataclass

    fields = []
    for name in kind._names:
        told = name in kind._told
        default = kind._defaults.get(name, MISSING)
        fields.append((name, kind._hints[name], field(default=default, repr=told, compare=told)))
    return make_dataclass(kind.__name__, fields, frozen=True, kw_only=not kind._in_order)
