"""What a site touches in a live frame, found out without running anybody's code."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    FrameType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any, Final, NamedTuple

from lmi_runtime.stress.model import Access, Location
from lmi_runtime.stress.watch.bytecode import Site
from lmi_runtime.stress.watch.cells import cell_of
from lmi_runtime.stress.watch.expressions import (
    Attr,
    Const,
    Deref,
    Expr,
    Global,
    Item,
    Local,
    Mode,
    Touch,
)

__all__ = ["Touched", "overlap", "resolve", "show"]


class Touched(NamedTuple):
    """An access and the object that holds what was accessed: keep it, so its id stays its own."""

    access: Access
    owner: object


def resolve(site: Site, frame: FrameType) -> tuple[Touched, ...]:
    """
    What `site` is about to touch. What cannot be known without running code is left out.

    Evaluates from the variables of the frame again what the instruction has on its stack: if
    another thread swapped an attribute in between, the new object is named.

    On 3.11 call it last thing before the trace function returns: reading a frame's variables
    there makes the interpreter write them back, closure cells too, when the function returns.
    """
    if not site.touches:
        return ()
    found: list[Touched] = []
    for touch in site.touches:
        touched = _RESOLVERS[touch.kind](touch, frame)
        if touched is not None:
            found.append(touched)
    return tuple(found)


def overlap(a: Location, b: Location) -> bool:
    """Whether they have state in common; a whole container has with each of its items."""
    return a.owner == b.owner and (a.key == b.key or a.key is None or b.key is None)


# --------------------------------------------------------------------- looking without touching

_MISSING: Final = object()
_mro: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_namespace: Callable[[type], Mapping[str, Any]] = type.__dict__["__dict__"].__get__
_type_name: Callable[[type], str] = type.__dict__["__name__"].__get__
_IMMUTABLE_IN_CLASSES = (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    FunctionType,
    MethodDescriptorType,
    ModuleType,
    WrapperDescriptorType,
    classmethod,
    staticmethod,
    type,
)


def _in_class(cls: type, name: str) -> tuple[type, Any] | None:
    """The class of the hierarchy that holds `name`, and what is there."""
    for holder in _mro(cls):
        namespace = _namespace(holder)
        if name in namespace:
            return holder, namespace[name]
    return None


def _variables(value: object) -> dict[str, Any] | None:
    """The instance's own dictionary."""
    cls = type(value)
    if cls is ModuleType:
        return vars(value)
    found = _in_class(cls, "__dict__")
    if found is None or type(found[1]) is not GetSetDescriptorType:
        return None
    own = found[1].__get__(value)
    return own if type(own) is dict else None


def _attribute_of(value: object, name: str) -> tuple[object, Any]:
    """Who holds the attribute and what it is; `_MISSING` when only running code could tell."""
    if isinstance(value, type):
        found = _in_class(value, name)
        return (value, _MISSING) if found is None else found
    in_class = _in_class(type(value), name)
    if in_class is not None and type(in_class[1]) is MemberDescriptorType:
        return value, _slot(in_class[1], value)
    own = _variables(value)
    if own is not None and name in own:
        return (own if type(value) is ModuleType else value), own[name]
    if in_class is None:
        return (own if type(value) is ModuleType and own is not None else value), _MISSING
    return in_class


def _slot(descriptor: Any, value: object) -> Any:
    try:
        return descriptor.__get__(value, type(value))
    except AttributeError:
        return _MISSING


def _computed(found: Any) -> bool:
    """Whether what a class holds is asked for the value: a property, say."""
    return _in_class(type(found), "__get__") is not None


_KEYS = frozenset({str, int, bytes, bool, float, type(None)})


def _simple(key: object) -> bool:
    """Whether hashing and comparing it runs nobody's code."""
    cls = type(key)
    return cls in _KEYS or (cls is tuple and all(map(_simple, key)))  # type: ignore[call-overload]


# ------------------------------------------------------------------------- evaluating


def _value(expr: Expr, frame: FrameType) -> Any:
    """What the expression gives now, or `_MISSING`."""
    match expr:
        case Local(name) | Deref(name):
            return frame.f_locals.get(name, _MISSING)
        case Attr(base, name):
            return _evaluated_attribute(_value(base, frame), name)
        case Global(name):
            found = frame.f_globals.get(name, _MISSING)
            return frame.f_builtins.get(name, _MISSING) if found is _MISSING else found
        case Item(base, key):
            return _evaluated_item(_value(base, frame), _value(key, frame))
        case Const(value, _):
            return value
        case _:
            return _MISSING


def _evaluated_attribute(base: object, name: str) -> Any:
    if base is _MISSING:
        return _MISSING
    holder, found = _attribute_of(base, name)
    from_class = isinstance(holder, type) and found is not _MISSING
    return _MISSING if from_class and _computed(found) else found


def _evaluated_item(base: object, key: object) -> Any:
    if key is _MISSING or not _simple(key):
        return _MISSING
    cls = type(base)
    if cls in _MAPPINGS:
        return dict.get(base, key, _MISSING)  # type: ignore[call-overload]
    if cls in _SEQUENCES and type(key) is int:
        try:
            return base[key]  # type: ignore[index]
        except IndexError:
            return _MISSING
    return _MISSING


# ------------------------------------------------------------------------- showing


def show(value: object) -> str:
    """At most 60 characters about a value, made without running anybody's ``__repr__``."""
    if value is _MISSING:
        return ""
    cls = type(value)
    if cls in _SCALARS:
        return _short(value)
    if cls in _SIZED:
        return f"{_type_name(cls)} of {len(value)}"  # type: ignore[arg-type]
    if isinstance(value, (FunctionType, type, ModuleType)):
        return f"<{_type_name(cls)} {value.__name__}>"[:60]
    return f"<{_type_name(cls)}>"[:60]


def _short(value: Any) -> str:
    if type(value) in (str, bytes) and len(value) > 40:
        return f"{value[:37]!r}..."[:60]
    if type(value) is int and value.bit_length() > 160:
        return "<large int>"
    return repr(value)[:60]


_SCALARS = frozenset({str, int, float, complex, bool, bytes, type(None)})
_MAPPINGS = frozenset({dict, OrderedDict, defaultdict, Counter})
_SEQUENCES = frozenset({list, tuple, deque})
_SIZED = _MAPPINGS | _SEQUENCES | {set, frozenset, bytearray}
_CONTAINERS = _SIZED - {tuple, frozenset}


def _path(expr: Expr, frame: FrameType) -> str:
    """What a person would write for it; only a class name is the same from everywhere."""
    match expr:
        case Global(name):
            return f"{frame.f_globals.get('__name__', '?')}.{name}"
        case Local(name) | Deref(name):
            value = frame.f_locals.get(name, _MISSING)
            return name if type(value) in _SIZED else _described(value)
        case Attr(base, name) if _rooted(base):
            return f"{_path(base, frame)}.{name}"
        case Attr(base, name):
            return f"{_described(_value(base, frame))}.{name}"
        case Item(base, key):
            return f"{_path(base, frame)}[{_key(_value(key, frame))}]"
        case _:
            return "?"


def _rooted(expr: Expr) -> bool:
    """Whether it starts at a module."""
    while isinstance(expr, (Attr, Item)):
        expr = expr.base
    return isinstance(expr, Global)


def _described(value: object) -> str:
    if isinstance(value, type):
        return _type_name(value)
    if type(value) is ModuleType:
        return value.__name__
    return "?" if value is _MISSING else _type_name(type(value))


def _key(key: object) -> str:
    return _short(key) if type(key) in _SCALARS else repr(key)[:60] if _simple(key) else "..."


# ------------------------------------------------------------------------- the kinds of touch


def _touched(
    mode: Mode, owner: object, key: str | None, path: str, value: object = _MISSING
) -> Touched:
    return Touched(Access(mode, Location(id(owner), key, path), show(value)), owner)


def _stored(touch: Touch, frame: FrameType) -> Any:
    return _MISSING if touch.value is None else _value(touch.value, frame)


def _global(touch: Touch, frame: FrameType) -> Touched:
    name = touch.name
    path = f"{frame.f_globals.get('__name__', '?')}.{name}"
    value = _value(Global(name), frame) if touch.mode == "read" else _stored(touch, frame)
    return _touched(touch.mode, frame.f_globals, name, path, value)


def _cell(touch: Touch, frame: FrameType) -> Touched | None:
    cell = cell_of(frame, touch.name)
    if cell is None:
        return None
    value = _value(Deref(touch.name), frame) if touch.mode == "read" else _stored(touch, frame)
    return _touched(touch.mode, cell, "", touch.name, value)


def _attribute(touch: Touch, frame: FrameType) -> Touched | None:
    base = _value(touch.base, frame)
    if base is _MISSING:
        return None
    name = touch.name
    holder, found = _attribute_of(base, name)
    if touch.mode == "read":
        in_class = isinstance(holder, type)
        if found is _MISSING or (in_class and (_fixed(found) or _computed(found))):
            return None
        if type(base) is ModuleType and isinstance(found, (FunctionType, type, ModuleType)):
            return None
        value = found
    else:
        if _has_setter(base, name):
            return None
        holder = base if type(base) is not ModuleType else vars(base)
        value = _stored(touch, frame)
    return _touched(touch.mode, holder, name, _path(Attr(touch.base, name), frame), value)


def _fixed(found: object) -> bool:
    return isinstance(found, _IMMUTABLE_IN_CLASSES)


def _has_setter(base: object, name: str) -> bool:
    if isinstance(base, type):
        return False
    found = _in_class(type(base), name)
    if found is None or type(found[1]) is MemberDescriptorType:
        return False
    return _in_class(type(found[1]), "__set__") is not None


def _item(touch: Touch, frame: FrameType) -> Touched | None:
    base = _value(touch.base, frame)
    key = _MISSING if touch.key is None else _value(touch.key, frame)
    stored = _stored(touch, frame)
    return _item_of(touch.mode, base, key, touch.base, frame, stored)


def _item_of(
    mode: Mode, base: Any, key: object, expr: Expr, frame: FrameType, stored: object = _MISSING
) -> Touched | None:
    """An item if its key is known, else the whole container."""
    cls = type(base)
    if cls not in _CONTAINERS:
        return None
    path = _path(expr, frame)
    if key is _MISSING or not _simple(key) or (cls not in _MAPPINGS and type(key) is not int):
        return _touched(mode, base, None, f"{path}[...]", stored)
    if cls in _MAPPINGS:
        found = dict.get(base, key, _MISSING)
        makes = cls is defaultdict and mode == "read" and found is _MISSING
        value = found if mode == "read" else stored
        mode = "update" if makes else mode
        return _touched(mode, base, repr(key), f"{path}[{_key(key)}]", value)
    if cls in _SEQUENCES:
        at = key + len(base) if key < 0 else key  # type: ignore[operator]
        value = _evaluated_item(base, key) if mode == "read" else stored
        return _touched(mode, base, repr(at), f"{path}[{at}]", value)
    return _touched(mode, base, repr(key), f"{path}[{_key(key)}]", stored)


def _contains(touch: Touch, frame: FrameType) -> Touched | None:
    base = _value(touch.base, frame)
    key = _MISSING if touch.key is None else _value(touch.key, frame)
    return _member("read", base, key, touch.base, frame)


def _member(mode: Mode, base: Any, key: object, expr: Expr, frame: FrameType) -> Touched | None:
    """What a membership is about: a key of a mapping or set, all of anything else."""
    cls = type(base)
    if cls in _MAPPINGS:
        return _item_of(mode, base, key, expr, frame)
    if cls is set and key is not _MISSING and _simple(key):
        return _touched(mode, base, repr(key), f"{_path(expr, frame)}[{_key(key)}]")
    return _whole_of(mode, base, expr, frame)


def _whole(touch: Touch, frame: FrameType) -> Touched | None:
    return _whole_of(touch.mode, _value(touch.base, frame), touch.base, frame)


def _whole_of(mode: Mode, base: Any, expr: Expr, frame: FrameType) -> Touched | None:
    if type(base) not in _CONTAINERS:
        return None
    return _touched(mode, base, None, _path(expr, frame), base)


def _call(touch: Touch, frame: FrameType) -> Touched | None:
    base = _value(touch.base, frame)
    methods = _METHODS.get(type(base))
    effect = methods.get(touch.name) if methods else None
    if effect is None:
        return None
    mode, keyed = effect
    if not keyed or not touch.args:
        return _whole_of(mode, base, touch.base, frame)
    return _member(mode, base, _value(touch.args[0], frame), touch.base, frame)


_RESOLVERS: Mapping[str, Callable[[Touch, FrameType], Touched | None]] = {
    "attribute": _attribute,
    "call": _call,
    "cell": _cell,
    "contains": _contains,
    "global": _global,
    "item": _item,
    "whole": _whole,
}


# ------------------------------------------------------------------------- builtin methods

_Effects = dict[str, tuple[Mode, bool]]


def _effects(mode: Mode, names: str, *, keyed: bool = False) -> _Effects:
    return {name: (mode, keyed) for name in names.split()}


_DICT: Final = (
    _effects("read", "copy items keys values __iter__ __len__")
    | _effects("read", "get __contains__ __getitem__", keyed=True)
    | _effects("update", "clear popitem update __ior__")
    | _effects("update", "pop setdefault __setitem__ __delitem__", keyed=True)
)
_ORDERED: Final = _DICT | _effects("update", "move_to_end")
_COUNTER: Final = (
    _DICT | _effects("read", "elements most_common total") | _effects("update", "subtract")
)
_LIST: Final = _effects("read", "copy count index __len__") | _effects(
    "update", "append clear extend insert pop remove reverse sort"
)
_DEQUE: Final = _LIST | _effects("update", "appendleft extendleft popleft rotate")
_SET: Final = (
    _effects("read", "copy difference intersection isdisjoint issubset issuperset")
    | _effects("read", "symmetric_difference union")
    | _effects("update", "add discard remove", keyed=True)
    | _effects("update", "clear difference_update intersection_update pop")
    | _effects("update", "symmetric_difference_update update")
)
_BYTEARRAY: Final = _effects("read", "copy count decode find hex index") | _effects(
    "update", "append clear extend insert pop remove reverse"
)

_METHODS: Mapping[type, _Effects] = {
    bytearray: _BYTEARRAY,
    Counter: _COUNTER,
    defaultdict: _DICT,
    deque: _DEQUE,
    dict: _DICT,
    list: _LIST,
    OrderedDict: _ORDERED,
    set: _SET,
}
