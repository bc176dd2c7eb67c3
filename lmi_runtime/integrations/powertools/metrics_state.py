"""
Where metrics wait for being published: with the request that they were added in.

Powertools keeps them in containers that instances share: all `Metrics` have the same ones, in
their class, and so do their providers. What is shared stays shared within a request, so what is
kept for a request is looked up by the container that it stands for, not by the instance.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.integrations.powertools.metrics_lost import tell_of_lost
from lmi_runtime.integrations.scopes import PROCESS, Holder, holder

__all__ = [
    "Gathered",
    "adopted",
    "locked",
    "made_here",
    "take_over",
]

_FLUSHED = ("dimension_set", "dimension_sets", "metadata_set")
"""What powertools forgets when it has published, besides the metrics."""


class _Kept:
    """
    What one place has: a request, the process, or the context of code without a request.

    Attributes:
        lock: Held while metrics of this place are added, serialized or cleared.
        own: By attribute and id of an instance, that instance and what it has here.
        standing_in: By the id of a container, that container and what is here in its place.
        mark: Known to the instances that were made here.
    """

    __slots__ = ("lock", "mark", "own", "standing_in")

    def __init__(self) -> None:
        # Re-entrant: publishing serializes and clears, and all of them may warn.
        self.lock = _sync.RLock()
        self.mark = object()
        self.own: dict[tuple[str, int], tuple[Any, Any]] = {}  # changed in atomic steps
        self.standing_in: dict[int, tuple[Any, Any]] = {}  # guarded by lock


class _Origin:
    """
    Of an instance that no import has made: where it was, and what other requests start from.

    Thread safety: changed before anybody else has the instance.
    """

    __slots__ = ("mark", "values")

    def __init__(self, mark: object) -> None:
        self.mark = mark
        self.values: dict[str, Any] = {}

    def __deepcopy__(self, memo: object) -> _Origin:
        # A copy of the instance was made in the same request, as far as anybody can tell.
        return self


_KEPT = object()
_ORIGIN = "_lmi_runtime_origin"
_CONTAINERS = (dict, list, set)

_latest: ContextVar[tuple[Holder, _Kept] | None]
_latest = ContextVar("lmi_runtime.integrations.metrics", default=None)
"""What `_kept_in` gave last: every attribute asks, dozens of times in a request."""


def _kept_in(place: Holder) -> _Kept:
    latest = _latest.get()
    if latest is not None and latest[0] is place:
        return latest[1]
    kept: _Kept = place.keep(_KEPT, _Kept)
    _latest.set((place, kept))
    return kept


class Gathered:
    """
    An attribute of providers and of `Metrics`, of which each request has its own.

    An instance's `__dict__` holds the value of the place where it was made; that is the process
    for most. Elsewhere a container is stood in for by one that starts as `fresh` makes it, and
    any other value is what it was, until another is set.

    Args:
        fresh: Makes a request's first container of the instance's.

    Thread safety: from any task or thread; who changes a container holds the lock of `locked`.
    """

    def __init__(self, fresh: Callable[[Any], Any] = copy.copy) -> None:
        self._fresh = fresh
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            # As without us. Dataclasses would take anything else for a default.
            raise AttributeError(self._name)
        kept = _elsewhere(instance)
        if kept is None:
            return self._base(instance)
        own = kept.own.get((self._name, id(instance))) or self._begin(kept, instance)
        return own[1]

    def __set__(self, instance: Any, value: Any) -> None:
        kept = _elsewhere(instance)
        values = instance.__dict__
        # What is set by whoever makes an instance is a setting that others have as well, but
        # nobody else has what was gathered.
        if kept is None:
            values[self._name] = value
            if _ORIGIN in values:
                values[_ORIGIN].values.setdefault(self._name, self._for_others(value))
        else:
            kept.own[self._name, id(instance)] = (instance, value)
            values.setdefault(self._name, self._for_others(value))

    def _for_others(self, value: Any) -> Any:
        if isinstance(value, _CONTAINERS):
            return type(value)()
        return None if self._name == "timestamp" else value

    def _begin(self, kept: _Kept, instance: Any) -> tuple[Any, Any]:
        origin = instance.__dict__.get(_ORIGIN)
        base = self._base(instance) if origin is None else origin.values[self._name]
        value = self._stand_in(kept, base) if isinstance(base, _CONTAINERS) else base
        return kept.own.setdefault((self._name, id(instance)), (instance, value))

    def _stand_in(self, kept: _Kept, base: Any) -> Any:
        tell_of_lost()
        with kept.lock:
            if id(base) not in kept.standing_in:
                kept.standing_in[id(base)] = (base, self._fresh(base))
            return kept.standing_in[id(base)][1]

    def _base(self, instance: Any) -> Any:
        try:
            return instance.__dict__[self._name]
        except KeyError:
            kind = type(instance).__name__
            raise AttributeError(
                f"{kind!r} object has no attribute {self._name!r}", name=self._name, obj=instance
            ) from None


def _elsewhere(instance: Any) -> _Kept | None:
    """What is kept in this place, unless the instance was made here."""
    place = holder()
    origin = instance.__dict__.get(_ORIGIN)
    if origin is None:
        return None if place is PROCESS else _kept_in(place)
    kept = _kept_in(place)
    return None if origin.mark is kept.mark else kept


# --------------------------------------------------------------------------- making instances


def made_here(init: Callable[..., None]) -> Callable[..., None]:
    """
    An `__init__` after which an instance belongs to the request that it was made in.

    What it holds is that request's without further ado. Another request that gets at it, as when
    the first one made it for all, starts from what its maker gave it.
    """

    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        place = holder()
        if place is PROCESS or _ORIGIN in self.__dict__:
            init(self, *args, **kwargs)
            return
        origin = self.__dict__[_ORIGIN] = _Origin(_kept_in(place).mark)
        init(self, *args, **kwargs)
        for name in origin.values:
            value = self.__dict__[name]
            origin.values[name] = copy.copy(value) if isinstance(value, _CONTAINERS) else value
        origin.values["metric_set"] = type(self.metric_set)()

    return __init__


def adopted(init: Callable[..., None]) -> Callable[..., None]:
    """An `__init__` of `Metrics`: wherever one is made, it shares what all of its class share."""

    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        place = holder()
        if place is PROCESS:
            init(self, *args, **kwargs)
            return
        # As if it was made here, for as long as that takes: what it hands to its provider are
        # the containers of the class then, and not those that stand in for them.
        self.__dict__[_ORIGIN] = _Origin(_kept_in(place).mark)
        init(self, *args, **kwargs)
        del self.__dict__[_ORIGIN]
        if not any(each is self.provider for each in (*args, *kwargs.values())):
            its = self.provider.__dict__
            its.pop(_ORIGIN, None)
            if "default_dimensions" in its:
                its["default_dimensions"] = self._default_dimensions

    return __init__


# --------------------------------------------------------------------------- using them


def locked(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that adds or publishes: of the threads of one request, one at a time does."""

    @functools.wraps(method)
    def one_at_a_time(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _kept_in(holder()).lock:
            return method(self, *args, **kwargs)

    return one_at_a_time


def take_over(provider: Any) -> None:
    """
    Have the request begin with what was added before it, and nobody after it.

    Where one request is served after the other, what a decorator around the handler adds goes to
    the place of imports. Powertools publishes that with the request, and forgets it.
    """
    if _ORIGIN in provider.__dict__:
        return
    for name in _FLUSHED:
        base = provider.__dict__.get(name)
        if base and getattr(provider, name) is not base:
            base.clear()
            if name == "dimension_set":
                defaults = provider.__dict__.get("default_dimensions") or {}
                base.update({key: str(value) for key, value in defaults.items()})
