"""Variables that belong to one request."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast, get_origin

from lmi_runtime.context._registry import Variable, declare
from lmi_runtime.context.active import current
from lmi_runtime.errors import VariableNotSet

if sys.version_info >= (3, 14):
    import annotationlib

__all__ = ["RequestScope", "scoped"]

T = TypeVar("T")


def scoped(factory: Callable[[], T]) -> T:
    """
    Give a scoped variable a default that is made for each request.

    ``cart: list[str] = scoped(list)`` calls ``list()`` once in every request that reads
    `cart` before it was set, however many tasks and threads of the request do so; all of them
    get the same list.
    """
    return cast("T", _Factory(factory))


class RequestScope:
    """
    Typed variables, each with a value of its own in every request.

    Subclass it, annotate the variables, and make one instance for the whole process:

        class Scope(RequestScope):
            user: str
            locale: str = "en"
            cart: list[str] = scoped(list)


        scope = Scope()

    Instances hold nothing: all instances of a class show the same variables, and a subclass
    shares the ones it inherits. An attribute without an annotation, or annotated `ClassVar`,
    is an ordinary class attribute.

    What is set belongs to the request and to the task or thread that set it. Tasks and
    threads started later get a copy: they see the value, and what they set stays theirs. No
    value is ever seen by another request, not even when both run on the same thread.

    Raises:
        NoActiveRequest: A variable is read, set or deleted outside a request, or after it.
        VariableNotSet: A variable is read that has neither a value nor a default.
        AttributeError: A name is set that the class does not declare.
        TypeError: A class gives a variable a list, a dict or a set as its default, which all
            requests would share. Use `scoped`.

    Thread safety: from any task or thread. Variables are created with the class, never later.
    """

    _variables: ClassVar[Mapping[str, _ScopedVariable]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        names = _declared_names(cls)
        own = {}
        for name, variable in declare(cls.__module__, cls.__qualname__, names).items():
            default = cls.__dict__.get(name, _NOTHING)
            own[name] = _ScopedVariable(cls.__qualname__, name, default, variable)
            setattr(cls, name, own[name])
        cls._variables = {**cls._variables, **own}

    # Hidden from type checkers: with it in sight they would accept any attribute.
    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: object) -> None:
            variable = self._variables.get(name)
            if variable is None:
                known = ", ".join(self._variables) or "none"
                raise AttributeError(
                    f"{type(self).__qualname__} declares no variable {name!r}; it has: {known}.",
                    name=name,
                    obj=self,
                )
            variable.__set__(self, value)


class _ScopedVariable:
    """
    The descriptor of one variable.

    The context variable holds the request along with the value: should a context ever be used
    for a second request, the first one's value is not found rather than leaked.
    """

    __slots__ = ("_default", "_factory", "_name", "_owner", "_variable")

    def __init__(self, owner: str, name: str, default: object, variable: Variable) -> None:
        if default.__class__.__hash__ is None:
            raise TypeError(
                f"{owner}.{name}: all requests would share this {type(default).__name__}. "
                f"Write `= scoped({type(default).__name__})` to make one for each."
            )
        self._owner = owner
        self._name = name
        self._variable = variable
        self._factory = default.make if isinstance(default, _Factory) else None
        self._default = default

    def __get__(self, scope: RequestScope | None, owner: type | None = None) -> Any:
        if scope is None:
            return self
        request = current()
        entry = self._variable.get(None)
        if entry is not None and entry[0] is request:
            return entry[1]
        if self._factory is not None:
            return request.keep(self, self._factory)
        if self._default is _NOTHING:
            raise self._not_set(scope)
        return self._default

    def __set__(self, scope: RequestScope, value: object) -> None:
        self._variable.set((current(), value))

    def __delete__(self, scope: RequestScope) -> None:
        request = current()
        entry = self._variable.get(None)
        if entry is None or entry[0] is not request:
            raise self._not_set(scope)
        self._variable.delete()

    def _not_set(self, scope: RequestScope) -> VariableNotSet:
        return VariableNotSet(
            f"{self._owner}.{self._name} has not been set in this request, and has no default. "
            "Set it where the request comes in, or give it a default in the class.",
            name=self._name,
            obj=scope,
        )


class _Factory:
    __slots__ = ("make",)

    def __init__(self, make: Callable[[], object]) -> None:
        self.make = make


_NOTHING = object()


def _declared_names(cls: type) -> list[str]:
    return [name for name, hint in _own_annotations(cls).items() if not _is_class_var(hint)]


def _is_class_var(hint: object) -> bool:
    if isinstance(hint, str):
        return re.match(r"(\w+\.)*ClassVar\b", hint) is not None
    return hint is ClassVar or get_origin(hint) is ClassVar


def _own_annotations(cls: type) -> Mapping[str, object]:
    # Never evaluated: names that only a type checker can resolve are fine in annotations.
    if sys.version_info >= (3, 14):
        return annotationlib.get_annotations(cls, format=annotationlib.Format.STRING)
    import inspect

    return inspect.get_annotations(cls)
