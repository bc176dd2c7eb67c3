"""What a site touches in a live frame, found out without running anybody's code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import FrameType, ModuleType
from typing import Any, NamedTuple, TypeAlias

from lmi_runtime.stress.model import Access, Location
from lmi_runtime.stress.watch.bytecode import Site
from lmi_runtime.stress.watch.cells import cell_of
from lmi_runtime.stress.watch.containers import METHODS
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
from lmi_runtime.stress.watch.values import (
    CONTAINERS,
    MAPPINGS,
    MISSING,
    SEQUENCES,
    SIZED,
    attribute_of,
    class_name,
    has_setter,
    is_class,
    is_computed,
    is_fixed,
    is_simple,
    item_of,
    show,
    show_key,
)

__all__ = ["Touched", "resolve"]


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
    plans = _plans.get(site.number)
    if plans is None:
        plans = _plans[site.number] = tuple(_planned(touch) for touch in site.touches)
    view = _View(frame)
    return tuple([found for plan in plans if (found := plan(view)) is not None])


class _View:
    """A frame, its variables asked for once."""

    __slots__ = ("frame", "names", "variables")

    def __init__(self, frame: FrameType) -> None:
        self.frame = frame
        self.variables: Mapping[str, Any] = frame.f_locals
        self.names = frame.f_globals


_Getter: TypeAlias = Callable[[_View], Any]
_Namer: TypeAlias = Callable[[_View, Any], str]
"""Names an expression whose value is known."""
_Plan: TypeAlias = Callable[[_View], Touched | None]

_plans: dict[int, tuple[_Plan, ...]] = {}


def _touched(mode: Mode, owner: object, key: str | None, path: str, value: object) -> Touched:
    return Touched(_access(mode, id(owner), key, path, show(value)), owner)


@lru_cache(maxsize=8192)  # half the cost of resolving is making these, mostly equal ones
def _access(mode: Mode, owner: int, key: str | None, path: str, value: str) -> Access:
    return Access(mode, Location(owner, key, path), value)


# ------------------------------------------------------------------------- expressions


def _getter(expr: Expr | None) -> _Getter:
    """A function that evaluates the expression, or finds it `MISSING`."""
    match expr:
        case Local(name) | Deref(name):
            return lambda view: view.variables.get(name, MISSING)
        case Global(name):
            return lambda view: _global_value(view, name)
        case Attr(base, name):
            holder = _getter(base)
            return lambda view: _attribute_value(holder(view), name)
        case Item(base, key):
            container, wanted = _getter(base), _getter(key)
            return lambda view: item_of(container(view), wanted(view))
        case Const(value, _):
            return lambda _view: value
        case _:
            return lambda _view: MISSING


def _global_value(view: _View, name: str) -> Any:
    found = view.names.get(name, MISSING)
    return view.frame.f_builtins.get(name, MISSING) if found is MISSING else found


def _attribute_value(base: Any, name: str) -> Any:
    if base is MISSING:
        return MISSING
    holder, found = attribute_of(base, name)
    if holder is not base and found is not MISSING and is_class(holder) and is_computed(found):
        return MISSING
    return found


def _namer(expr: Expr) -> _Namer:
    """
    A function that gives the path: from the module on, or else from the class of the holder.

    What a local variable is called differs from one function to the next, its class does not.
    """
    match expr:
        case Global(name):
            return lambda view, _value: f"{view.names.get('__name__', '?')}.{name}"
        case Local(name) | Deref(name):
            return lambda _view, value: name if type(value) in SIZED else class_name(value)
        case Attr(base, name):
            holder = _getter(base)
            if _starts_at_module(base):
                named = _namer(base)
                return lambda view, _value: f"{named(view, holder(view))}.{name}"
            return lambda view, _value: f"{class_name(holder(view))}.{name}"
        case Item(base, key):
            container, wanted, named = _getter(base), _getter(key), _namer(base)
            return lambda view, _value: f"{named(view, container(view))}[{show_key(wanted(view))}]"
        case _:
            return lambda _view, value: class_name(value)


def _starts_at_module(expr: Expr) -> bool:
    while isinstance(expr, (Attr, Item)):
        expr = expr.base
    return isinstance(expr, Global)


# ------------------------------------------------------------------------- touches


def _planned(touch: Touch) -> _Plan:
    return _PLANNERS[touch.kind](touch)


def _plan_global(touch: Touch) -> _Plan:
    name, mode, named = touch.name, touch.mode, _namer(Global(touch.name))
    value = _getter(Global(name) if mode == "read" else touch.value)

    def plan(view: _View) -> Touched:
        return _touched(mode, view.names, name, named(view, None), value(view))

    return plan


def _plan_cell(touch: Touch) -> _Plan:
    name, mode = touch.name, touch.mode
    value = _getter(Deref(name) if mode == "read" else touch.value)

    def plan(view: _View) -> Touched | None:
        cell = cell_of(view.frame, name)
        return None if cell is None else _touched(mode, cell, name, name, value(view))

    return plan


def _plan_attribute(touch: Touch) -> _Plan:
    name, mode = touch.name, touch.mode
    base, value, named = _getter(touch.base), _getter(touch.value), _namer(touch.base)

    def plan(view: _View) -> Touched | None:
        held_by = base(view)
        if held_by is MISSING:
            return None
        if mode != "read":
            if has_setter(held_by, name):
                return None
            owner = vars(held_by) if type(held_by) is ModuleType else held_by
            return _touched(mode, owner, name, f"{named(view, held_by)}.{name}", value(view))
        owner, found = attribute_of(held_by, name)
        if found is MISSING:
            return None
        elsewhere = owner is not held_by or is_class(held_by)
        if elsewhere and (is_fixed(found) or is_computed(found)):
            return None
        return _touched(mode, owner, name, f"{named(view, held_by)}.{name}", found)

    return plan


def _plan_item(touch: Touch) -> _Plan:
    base, key, value = _getter(touch.base), _getter(touch.key), _getter(touch.value)
    mode, named = touch.mode, _namer(touch.base)

    def plan(view: _View) -> Touched | None:
        container = base(view)
        if type(container) not in CONTAINERS:
            return None
        return _item(mode, container, key(view), named(view, container), value(view))

    return plan


def _item(mode: Mode, container: Any, key: Any, path: str, stored: Any) -> Touched:
    """An item if it can be told which, else the whole container."""
    cls = type(container)
    if cls in MAPPINGS and is_simple(key):
        found = item_of(container, key)
        if mode == "read":
            # Reading what a defaultdict has not makes it have it.
            makes = cls is defaultdict and found is MISSING
            mode, stored = "update" if makes else "read", found
        return _touched(mode, container, repr(key), f"{path}[{show_key(key)}]", stored)
    if cls in SEQUENCES and type(key) is int:
        at = key + len(container) if key < 0 else key
        shown = item_of(container, at) if mode == "read" else stored
        return _touched(mode, container, repr(at), f"{path}[{at}]", shown)
    return _touched(mode, container, None, f"{path}[...]", stored)


def _plan_contains(touch: Touch) -> _Plan:
    base, key, named = _getter(touch.base), _getter(touch.key), _namer(touch.base)

    def plan(view: _View) -> Touched | None:
        container = base(view)
        if type(container) not in CONTAINERS:
            return None
        return _member("read", container, key(view), named(view, container))

    return plan


def _member(mode: Mode, container: Any, key: Any, path: str) -> Touched:
    """What a membership is about: a key of a mapping or set, all of anything else."""
    cls = type(container)
    if cls in MAPPINGS and is_simple(key):
        return _item(mode, container, key, path, item_of(container, key))
    if cls is set and is_simple(key):
        return _touched(mode, container, repr(key), f"{path}[{show_key(key)}]", MISSING)
    return _touched(mode, container, None, path, container)


def _plan_whole(touch: Touch) -> _Plan:
    mode, base, named = touch.mode, _getter(touch.base), _namer(touch.base)

    def plan(view: _View) -> Touched | None:
        container = base(view)
        if type(container) not in CONTAINERS:
            return None
        return _touched(mode, container, None, named(view, container), container)

    return plan


def _plan_call(touch: Touch) -> _Plan:
    method, base, named = touch.name, _getter(touch.base), _namer(touch.base)
    first = _getter(touch.args[0] if touch.args else None)

    def plan(view: _View) -> Touched | None:
        container = base(view)
        methods = METHODS.get(type(container))
        if methods is None or method not in methods:
            return None
        mode, keyed = methods[method]
        path = named(view, container)
        if keyed:
            return _member(mode, container, first(view), path)
        return _touched(mode, container, None, path, container)

    return plan


_PLANNERS: Mapping[str, Callable[[Touch], _Plan]] = {
    "attribute": _plan_attribute,
    "call": _plan_call,
    "cell": _plan_cell,
    "contains": _plan_contains,
    "global": _plan_global,
    "item": _plan_item,
    "whole": _plan_whole,
}
