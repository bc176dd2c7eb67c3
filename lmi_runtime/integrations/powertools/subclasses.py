"""What users' own resolvers do that cannot be kept apart, said once for each class."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["expect", "is_powertools", "watched"]

logger = logging.getLogger("lmi_runtime.integrations")

_expected: dict[str, object] = {}
"""What the attributes of resolvers should be; filled once, before anything is looked at."""
_told: dict[tuple[type, str], object] = {}
"""What has been looked at or said; changed by dict.setdefault only."""

_THEIRS = "aws_lambda_powertools"
_BEFORE = "_lmi_runtime_before"
"""Where an app keeps what it had after its last call."""
_SET_BY_POWERTOOLS = frozenset({"current_event", "lambda_context", "context"})


def expect(attributes: Mapping[str, object]) -> None:
    """Tell what resolvers have by these names, unless a class has its own."""
    _expected.update(attributes)


@contextmanager
def watched(app: Any) -> Iterator[None]:
    """
    Look at an app of a class of the user's while it resolves, and say what requests share there.

    Thread safety: from any task or thread.
    """
    kind = type(app)
    if is_powertools(kind):
        yield
        return
    if _is_first(kind, ""):
        _look_at(kind)
    yield
    now = dict(vars(app))
    before = now.pop(_BEFORE, {})
    for name, value in now.items():
        # Set again, that is: what is made once and then stays is nobody's in particular.
        if before.get(name, value) is not value and before[name] is not None:
            _tell_of_state(kind, name)
    vars(app)[_BEFORE] = now


def is_powertools(kind: type) -> bool:
    """Whether a class is powertools' own."""
    return kind.__module__.startswith(_THEIRS)


def _is_first(kind: type, what: str) -> bool:
    mine = object()
    return _told.setdefault((kind, what), mine) is mine


def _tell_of_state(kind: type, name: str) -> None:
    if name not in _SET_BY_POWERTOOLS and _is_first(kind, name):
        logger.warning(
            "%s sets %r on itself while it resolves, which all requests share: keep it in the "
            "context instead, as in app.append_context(%s=...).",
            kind.__qualname__,
            name,
            name,
        )


def _look_at(kind: type) -> None:
    for name, expected in _expected.items():
        found = inspect.getattr_static(kind, name)
        owner = next(each for each in kind.__mro__ if name in vars(each))
        if found is not expected and not owner.__module__.startswith(_THEIRS):
            logger.warning(
                "%s has a %r of its own, which all requests share unless it keeps them apart: "
                "leave it to powertools' class.",
                owner.__qualname__,
                name,
            )
    for name in ("append_context", "clear_context"):
        function = inspect.getattr_static(kind, name)
        code = getattr(function, "__code__", None)
        known = code is None or {name, "context"} & set(code.co_names)
        if not known and not str(getattr(function, "__module__", "")).startswith(_THEIRS):
            logger.warning(
                "%s.%s keeps the context in a place of its own, which all requests share: call "
                "powertools' method with super().%s(...).",
                kind.__qualname__,
                name,
                name,
            )
