"""
Changes to other people's classes, each made only where what is there is what it was written for.

A change is written for one module and made when that has been imported. It first looks at
everything it is about to replace; when something is missing, or takes other arguments than it
knows, nothing of it is done and its utility is named in the log. It is all of a change or nothing.
"""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from types import CodeType, ModuleType
from typing import Any

from lmi_runtime import _sync
from lmi_runtime._facts import Facts
from lmi_runtime.integrations.importing import when_imported

__all__ = ["Change", "Patcher", "Safety", "Swaps", "Unexpected"]

logger = logging.getLogger("lmi_runtime.integrations")


class Change(Facts, kw_only=False):
    """
    One utility made safe.

    Attributes:
        utility: What users call it.
        module: The change is made once this has been imported.
        made_by: ``module:function`` of ours; it is imported only then, and called with the
            module and a `Swaps`.
    """

    utility: str
    module: str
    made_by: str


class Safety(Facts, kw_only=False):
    """
    What has been made safe in this process so far.

    Attributes:
        patched: Utilities whose state is each request's own.
        waiting: Utilities that the function has not imported; they will be when it does.
        not_patched: For each of the others, why not.
    """

    patched: tuple[str, ...]
    waiting: tuple[str, ...]
    not_patched: dict[str, str]


class Unexpected(Exception):
    """Something that a change was written for is not there, or is not what it was."""


class Swaps:
    """
    What one change replaces, collected first and done together.

    Thread safety: one thread.
    """

    def __init__(self) -> None:
        self._planned: list[tuple[Any, str, Any]] = []

    def attribute(self, owner: Any, name: str) -> Any:
        """
        What `owner` has by that name.

        Raises:
            Unexpected: Nothing.
        """
        found = inspect.getattr_static(owner, name, None)
        if found is None:
            raise Unexpected(f"{_name(owner)}.{name} is not there")
        return found

    def function(self, owner: Any, name: str, parameters: str) -> Callable[..., Any]:
        """
        The function or method `name` of `owner`, which takes at least these parameters.

        Args:
            owner: A class or a module.
            name: Its attribute.
            parameters: Names in their order with their stars, such as ``"self, *args, key"``; the
                function may take more behind them.

        Raises:
            Unexpected: It is not there, or takes others.
        """
        found = self.attribute(owner, name)
        inner = getattr(found, "__func__", found)
        if not callable(inner):
            raise Unexpected(f"{_name(owner)}.{name} is no function")
        known = [each.strip() for each in parameters.split(",") if each.strip()]
        there = _parameters(inner)
        if not _in_order(known, there):
            raise Unexpected(f"{_name(owner)}.{name} takes ({', '.join(there)})")
        made: Callable[..., Any] = inner
        return made

    def fields(self, owner: type, *names: str) -> None:
        """
        Check that instances of `owner` have these attributes, as far as its code tells.

        Raises:
            Unexpected: Neither the body nor any function of the class and of its bases names one.
        """
        named = set().union(*(_names_in(kind) for kind in owner.__mro__[:-1]))
        for name in names:
            if name not in named:
                raise Unexpected(f"{_name(owner)} has no {name}")

    def put(self, owner: Any, name: str, replacement: Any) -> None:
        """Have ``owner.name`` replaced, once all of the change is known to fit."""
        self._planned.append((owner, name, replacement))

    def carry_out(self) -> None:
        """Replace everything."""
        for owner, name, replacement in self._planned:
            bind = getattr(replacement, "__set_name__", None)
            setattr(owner, name, replacement)
            if bind is not None:
                bind(owner, name)


def _parameters(function: Callable[..., Any]) -> list[str]:
    """What `inspect.signature` says, in a tenth of its time: a start has hundreds to look at."""
    code: CodeType | None = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return [_starred(each) for each in inspect.signature(function).parameters.values()]
    names = iter(code.co_varnames)
    positional = list(islice(names, code.co_argcount))
    keywords = list(islice(names, code.co_kwonlyargcount))
    if code.co_flags & inspect.CO_VARARGS:
        positional.append(f"*{next(names)}")
    if code.co_flags & inspect.CO_VARKEYWORDS:
        keywords.append(f"**{next(names)}")
    return [*positional, *keywords]


def _starred(parameter: inspect.Parameter) -> str:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return f"*{parameter.name}"
    return f"**{parameter.name}" if parameter.kind is parameter.VAR_KEYWORD else parameter.name


def _in_order(known: list[str], there: list[str]) -> bool:
    """Whether all that is known is there, in its order, whatever else there is."""
    rest = iter(there)
    return all(name in rest for name in known)


def _name(owner: Any) -> str:
    return str(getattr(owner, "__qualname__", getattr(owner, "__name__", owner)))


def _names_in(kind: type) -> set[str]:
    """Everything that the body of a class and the code of its functions name."""
    names = set(vars(kind))
    for value in vars(kind).values():
        function = getattr(value, "fget", None) or getattr(value, "__func__", value)
        # Somebody may have wrapped it, as tracers do; not a class that lies in a class.
        code = getattr(inspect.unwrap(function) if callable(function) else None, "__code__", None)
        if code is not None:
            names |= _names_of(code)
    return names


def _names_of(code: CodeType) -> set[str]:
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return set(code.co_names).union(*map(_names_of, inner))


class Patcher:
    """
    Makes changes as their modules are imported, and remembers what became of each.

    Args:
        name: The library, as its users call it.

    Thread safety: from any thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = _sync.Lock()
        self._states: dict[Change, str | None] = {}  # guarded by _lock; None: made
        self._waiting: dict[Change, None] = {}  # guarded by _lock
        # Guarded by _lock: the last module it was for, and its spec, another after a reload.
        self._modules: dict[Change, tuple[ModuleType, object]] = {}

    def arm(self, changes: Iterable[Change]) -> None:
        """Make each of these changes now or as soon as its module has been imported, once."""
        for change in changes:
            with self._lock:
                if change in self._waiting or change in self._states:
                    continue
                self._waiting[change] = None
            when_imported(change.module, partial(self._make, change))

    def _make(self, change: Change, module: ModuleType) -> None:
        with self._lock:
            before = self._modules.get(change)
            if before is not None and before[0] is module and before[1] is module.__spec__:
                return
            self._modules[change] = (module, module.__spec__)
        # Without the lock: a change may import modules, whose locks other threads may hold.
        problem = _carried_out(change, module)
        with self._lock:
            self._waiting.pop(change, None)
            self._states[change] = problem
        if problem is not None:
            logger.warning(
                "%s: %s is not isolated between requests: %s.",
                self._name,
                change.utility,
                problem,
            )

    def report(self) -> Safety:
        """What has been done so far; a utility of several changes counts when all are made."""
        with self._lock:
            not_patched = {
                change.utility: problem
                for change, problem in self._states.items()
                if problem is not None
            }
            waiting = {change.utility for change in self._waiting}
            made = {change.utility for change in self._states}
        return Safety(
            patched=tuple(sorted(made - set(not_patched) - waiting)),
            waiting=tuple(sorted(waiting - made)),
            not_patched=not_patched,
        )


def _carried_out(change: Change, module: ModuleType) -> str | None:
    """Make a change; why it could not be, or None."""
    room, _, name = change.made_by.partition(":")
    swaps = Swaps()
    try:
        getattr(importlib.import_module(room), name)(module, swaps)
        swaps.carry_out()
    except Unexpected as error:
        return str(error)
    except Exception as error:
        # The function's import must not fail for it: this is what it would have had without us.
        logger.debug("%s failed", change.made_by, exc_info=True)
        return f"{type(error).__name__}: {error}"
    return None
