"""One key for every way to write the same call."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import inspect

__all__ = ["NAMED", "KeyOf", "is_method", "key_maker"]

KeyOf: TypeAlias = Callable[[tuple[Any, ...], Mapping[str, Any]], Hashable]
"""From the positional and the named arguments of a call to its key."""


class Mark:
    """Stands between positional arguments and others in a key; equal to nothing of a user's."""

    def __repr__(self) -> str:
        return "*"


NAMED = Mark()


def key_maker(function: Callable[..., Any], *, typed: bool = False) -> KeyOf:
    """
    What makes the keys for calls of `function`.

    ``f(1, 2)``, ``f(1, b=2)`` and ``f(1)`` have one key when 2 is the default of `b`.

    Args:
        function: Whose signature counts.
        typed: Tell ``1``, ``1.0`` and ``True`` apart, which are equal in Python.
    """
    import inspect

    # Not of what it wraps: a decorator may add arguments, or take some away.
    canonical = _canonical(inspect.signature(function, follow_wrapped=False))
    if not typed:
        return canonical

    def with_types(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Hashable:
        key = canonical(args, kwargs)
        return (key, tuple(map(type, key)))

    return with_types


def _canonical(
    signature: inspect.Signature,
) -> Callable[[tuple[Any, ...], Mapping[str, Any]], tuple[Any, ...]]:
    from inspect import Parameter

    kinds = [parameter.kind for parameter in signature.parameters.values()]
    simple = not {
        Parameter.KEYWORD_ONLY,
        Parameter.VAR_POSITIONAL,
        Parameter.VAR_KEYWORD,
    } & set(kinds)
    count = len(kinds) if simple else -1

    def key_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        if len(args) == count and not kwargs:
            return args
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        named = bound.kwargs
        return (*bound.args, NAMED, *sorted(named.items())) if named else bound.args

    return key_of


def is_method(function: Callable[..., Any]) -> bool:
    """Whether `function` was defined in a class and takes its instance first."""
    owner, _, _ = getattr(function, "__qualname__", "").rpartition(".")
    if not owner or owner.endswith("<locals>"):
        return False
    import inspect

    return next(iter(inspect.signature(function).parameters), "") == "self"
