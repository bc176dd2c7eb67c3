"""
The only module that knows contextvars-extras.

A `ContextVarsRegistry` creates all its variables when its class is created. Here that is the
only moment: creating them on first assignment, as the library also can, is check-then-act.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import Token
from typing import Any, Protocol

__all__ = ["Variable", "declare"]


class Variable(Protocol):
    """One context variable; reads and writes go to the calling task's or thread's context."""

    def get(self, default: Any) -> Any:
        """The value in this context, or `default` when it is unset or was deleted."""
        ...

    def set(self, value: Any) -> Token[Any]:
        """Set it in this context."""
        ...

    def reset(self, token: Token[Any]) -> None:
        """Undo the `set` that returned `token`, in the same context."""
        ...

    def delete(self) -> None:
        """Make it unset in this context."""
        ...


def declare(module: str, owner: str, names: Iterable[str]) -> Mapping[str, Variable]:
    """
    Create one context variable per name, called ``module.owner.name``.

    Thread safety: from any thread; every call makes its own variables.
    """
    # It imports asyncio: only functions with variables of their own wait for that.
    from contextvars_extras import (  # type: ignore[import-untyped]
        ContextVarDescriptor,
        ContextVarsRegistry,
    )

    variables: dict[str, Variable] = {name: ContextVarDescriptor() for name in names}
    namespace = {"__module__": module, "_registry_allocate_on_setattr": False, **variables}
    type(ContextVarsRegistry)(owner, (ContextVarsRegistry,), namespace)
    return variables
