"""What is known of a handler before it is explored. All frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal

from lmi_runtime.stress.oracles.canary import Tokens

__all__ = ["ORACLES", "Delivery", "Mode", "Subject"]

Mode = Literal["async", "threads", "process"]

ORACLES = frozenset(
    {"isolation", "serial", "exception", "environment", "leak", "deadline", "invariant"}
)
"""Names of what a handler is judged by; deadlock and livelock are the scheduler's verdicts."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """
    One invocation as it is delivered.

    Attributes:
        number: From 1.
        event: JSON-like, marked already.
        tokens: What it carries in its request id, trace id and tenant id.
        tenant_id: That of the tokens, unless several invocations belong to one tenant.
    """

    number: int
    event: Any
    tokens: Tokens
    tenant_id: str


@dataclass(frozen=True, slots=True)
class Subject:
    """
    A handler to be explored.

    Attributes:
        name: ``app.handler``.
        module: Its module, ``app``.
        mode: How invocations share a process.
        adapt: From the freshly imported module and a delivery, what serves it: a function
            without arguments, or a coroutine function. Returns a JSON-like result.
        cancel: Cancellation is tried at every await.
        mark: How events are marked: ``auto``, ``off``, or a function of the user.
        invariant: Of the handler's module when all invocations have ended.
        ignore: Oracles that are turned off.
    """

    name: str
    module: str
    mode: Mode
    adapt: Callable[[ModuleType, Delivery], Callable[[], Any]]
    cancel: bool = True
    mark: Literal["auto", "off"] | Callable[[Any, str], Any] = "auto"
    invariant: Callable[[ModuleType], Any] | None = None
    ignore: frozenset[str] = field(default_factory=frozenset)

    @property
    def is_async(self) -> bool:
        """Invocations are tasks of one event loop."""
        return self.mode == "async"

    def judges(self, oracle: str) -> bool:
        """Whether an oracle is on."""
        if self.mode == "process" and oracle != "environment":
            return False
        return oracle not in self.ignore
