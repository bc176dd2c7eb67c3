"""All state that user modules keep between invocations, as one comparable value."""

from __future__ import annotations

import enum
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from lmi_runtime.stress.world.canon import Canon
from lmi_runtime.stress.world.nodes import Node, Tree

__all__ = ["canonical", "fingerprint"]

_module_of: Final = type.__dict__["__module__"].__get__
_vars_of: Final = type.__dict__["__dict__"].__get__
_mro_of: Final = type.__dict__["__mro__"].__get__
# Not state: code, and what is built from it once.
_CODE: Final = (
    types.ModuleType,
    types.BuiltinFunctionType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.GenericAlias,
    property,
)


def fingerprint(
    modules: Iterable[types.ModuleType],
    *,
    normalise: Callable[[str], str] | None = None,
    max_depth: int = 20,
    max_nodes: int = 50_000,
) -> dict[str, Tree]:
    """
    Everything the modules keep, by the name a person would use: ``app.COUNTS``.

    Looks at globals, class attributes, closures and defaults of functions, and at instances of
    classes that the modules define. Anything else that is not a builtin container is opaque.
    Runs nobody's code.

    Args:
        modules: The user's.
        normalise: Applied to every string, to take out what differs by design.
        max_depth: Deeper things are cut.
        max_nodes: After so many values the rest is cut.

    Thread safety: call while nothing else runs.
    """
    modules = list(modules)
    names = frozenset(vars(module)["__name__"] for module in modules)
    canon = Canon(
        lambda cls: _module_of(cls) in names,
        normalise=normalise,
        max_depth=max_depth,
        max_nodes=max_nodes,
    )
    found: dict[str, Tree] = {}
    for module in modules:
        found.update(_of_module(canon, vars(module), names))
    return found


def canonical(
    value: Any,
    *,
    opened: Callable[[type], bool] = lambda _cls: False,
    normalise: Callable[[str], str] | None = None,
) -> Tree:
    """
    One value as a tree, such as the result of an invocation.

    Args:
        value: What to look at; dataclasses are always looked into.
        opened: Other classes whose instances are looked into.
        normalise: Applied to every string, to take out what differs by design.
    """
    return Canon(lambda cls: _is_dataclass(cls) or opened(cls), normalise=normalise).tree(value)


def _is_dataclass(cls: type) -> bool:
    return any("__dataclass_fields__" in _vars_of(base) for base in _mro_of(cls))


def _of_module(
    canon: Canon, held: dict[str, Any], names: frozenset[str]
) -> Iterator[tuple[str, Tree]]:
    module = held["__name__"]
    for name, value in list(held.items()):
        if _is_dunder(name) or type(value) in _CODE:
            continue
        path = f"{module}.{name}"
        if isinstance_safely(value, type):
            if _module_of(value) == module:
                yield from _of_class(canon, value, path, names)
        elif type(value) is types.FunctionType:
            if value.__module__ in names:
                yield from _of_function(canon, value, path)
        else:
            yield path, canon.tree(value)


def _of_class(
    canon: Canon, cls: type, path: str, names: frozenset[str]
) -> Iterator[tuple[str, Tree]]:
    if issubclass(cls, enum.Enum):
        return
    for name, value in list(_vars_of(cls).items()):
        if _is_dunder(name) or name == "_abc_impl" or type(value) in _CODE:
            continue
        value = _unwrapped(value)
        if type(value) is types.FunctionType:
            yield from _of_function(canon, value, f"{path}.{name}")
        elif isinstance_safely(value, type):
            if _module_of(value) in names and value is not cls:
                yield f"{path}.{name}", canon.tree(value)
        else:
            yield f"{path}.{name}", canon.tree(value)


def _of_function(
    canon: Canon, function: types.FunctionType, path: str
) -> Iterator[tuple[str, Tree]]:
    tree = canon.function(function)
    if isinstance(tree, Node) and tree.kind == "object":
        for name, part in tree.parts:
            yield f"{path}.{name}", part


def _unwrapped(value: Any) -> Any:
    if type(value) in (staticmethod, classmethod):
        return value.__func__
    return value


def isinstance_safely(value: object, cls: type) -> bool:
    """`isinstance` that does not ask the object, which may be a proxy, what it is."""
    return issubclass(type(value), cls)


def _is_dunder(name: str) -> bool:
    return name[:2] == "__" and name[-2:] == "__"
