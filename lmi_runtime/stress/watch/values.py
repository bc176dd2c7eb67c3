"""Look at objects without running anybody's code: no property, no ``__eq__``, no ``__repr__``."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any, Final

__all__ = [
    "CONTAINERS",
    "MAPPINGS",
    "MISSING",
    "SCALARS",
    "SEQUENCES",
    "SIZED",
    "attribute_of",
    "class_name",
    "has_setter",
    "is_class",
    "is_computed",
    "is_fixed",
    "is_simple",
    "item_of",
    "show",
    "show_key",
]

MISSING: Final = object()
"""In place of a value that is not there, or that only running code could tell."""

SCALARS = frozenset({str, int, float, complex, bool, bytes, type(None)})
MAPPINGS = frozenset({dict, OrderedDict, defaultdict, Counter})
SEQUENCES = frozenset({list, tuple, deque})
SIZED = MAPPINGS | SEQUENCES | {set, frozenset, bytearray}
CONTAINERS = SIZED - {tuple, frozenset}

_KEYS = frozenset({str, int, bytes, bool, float, type(None)})
_NEVER_REBOUND = (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    FunctionType,
    MethodDescriptorType,
    ModuleType,
    WrapperDescriptorType,
    classmethod,
    staticmethod,
)

# Asked of `type` itself, past whatever a metaclass has to say.
_mro: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_namespace: Callable[[type], Mapping[str, Any]] = type.__dict__["__dict__"].__get__
_type_name: Callable[[type], str] = type.__dict__["__name__"].__get__


def is_class(value: object) -> bool:
    """Not `isinstance`, which believes what ``__class__`` says."""
    return issubclass(type(value), type)


def attribute_of(value: Any, name: str) -> tuple[object, Any]:
    """Who holds the attribute, and what it is or `MISSING`; a module's holder is its dictionary."""
    cls = type(value)
    if cls is ModuleType:
        own = vars(value)
        return own, own.get(name, MISSING)
    if is_class(value):
        return _in_class(value, name) or (value, MISSING)
    in_class, variables = _looked_up(value, cls, name)
    if in_class is not None and type(in_class[1]) is MemberDescriptorType:
        return value, _slot(in_class[1], value)
    if variables is not None and name in variables:
        return value, variables[name]
    return in_class or (value, MISSING)


def _looked_up(
    value: object, cls: type, name: str
) -> tuple[tuple[type, Any] | None, dict[str, Any] | None]:
    """What the hierarchy holds under `name`, and the instance's own dictionary."""
    in_class = dictionary = None
    for holder in _mro(cls):
        namespace = _namespace(holder)
        if in_class is None and name in namespace:
            in_class = holder, namespace[name]
        if dictionary is None and "__dict__" in namespace:
            dictionary = namespace["__dict__"]
    if type(dictionary) is not GetSetDescriptorType:
        return in_class, None
    own = dictionary.__get__(value)
    return in_class, own if type(own) is dict else None


def _in_class(cls: type, name: str) -> tuple[type, Any] | None:
    for holder in _mro(cls):
        namespace = _namespace(holder)
        if name in namespace:
            return holder, namespace[name]
    return None


def _slot(descriptor: Any, value: object) -> Any:
    try:
        return descriptor.__get__(value, type(value))
    except AttributeError:
        return MISSING


def is_computed(found: object) -> bool:
    """Whether what a class holds is asked for the value: a property, say."""
    return _in_class(type(found), "__get__") is not None


def is_fixed(found: object) -> bool:
    """Whether it is code: nobody expects it to be bound again."""
    return type(found) in _NEVER_REBOUND or is_class(found)


def has_setter(value: object, name: str) -> bool:
    """Whether storing the attribute runs something other than a plain store."""
    if is_class(value):
        return False
    found = _in_class(type(value), name)
    if found is None or type(found[1]) is MemberDescriptorType:
        return False
    return _in_class(type(found[1]), "__set__") is not None


def is_simple(key: object) -> bool:
    """Whether hashing and comparing it runs nobody's code."""
    cls = type(key)
    return cls in _KEYS or (cls is tuple and all(map(is_simple, key)))  # type: ignore[call-overload]


def item_of(base: Any, key: Any) -> Any:
    """The item, or `MISSING` where it is not there or not ours to ask for."""
    cls = type(base)
    if key is MISSING or not is_simple(key):
        return MISSING
    if cls in MAPPINGS:
        return dict.get(base, key, MISSING)
    if cls in SEQUENCES and type(key) is int and -len(base) <= key < len(base):
        return base[key]
    return MISSING


def show(value: Any) -> str:
    """At most 60 characters about a value; nothing for `MISSING`."""
    cls = type(value)
    if cls in SCALARS:
        return _short(value)
    if cls in SIZED:
        return f"{cls.__name__} of {len(value)}"
    if value is MISSING:
        return ""
    if cls is FunctionType:
        return f"<function {value.__name__}>"[:60]
    if is_class(value):
        return f"<class {_type_name(value)}>"[:60]
    return f"<{class_name(value)}>"[:60]


def show_key(key: object) -> str:
    """At most 60 characters about a key."""
    if type(key) in SCALARS:
        return _short(key)
    return repr(key)[:60] if is_simple(key) else "..."


def class_name(value: Any) -> str:
    """What it is called in a path: a class or module by its own name, the rest by its class."""
    if is_class(value):
        return _type_name(value)
    if type(value) is ModuleType:
        return str(vars(value).get("__name__", "module"))
    return "?" if value is MISSING else _type_name(type(value))


def _short(value: Any) -> str:
    cls = type(value)
    if cls in (str, bytes) and len(value) > 40:
        return f"{value[:37]!r}..."[:60]
    if cls is int and value.bit_length() > 160:
        return "<large int>"  # repr refuses the largest
    return repr(value)[:60]
