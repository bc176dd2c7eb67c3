"""Which mode a handler runs in: pure decisions."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from lmi_runtime.errors import UnsupportedMode
from lmi_runtime.handlers import HandlerSpec
from lmi_runtime.model import EntryKind, Mode

__all__ = ["HandlerFacts", "choose_mode"]

_DEFAULTS = {"async": Mode.ASYNC, "threads": Mode.HYBRID, "process": Mode.PROCESS}


@dataclass(frozen=True, slots=True)
class HandlerFacts:
    """
    What the supervisor has to know of a handler. Passed on when the process starts anew.

    Attributes:
        concurrency: What the handler asked for, or its default.
        is_task: Whether it runs on the event loop.
        max_per_vcpu: Its own limit, or None.
    """

    concurrency: str
    is_task: bool
    max_per_vcpu: int | None

    @classmethod
    def of(cls, spec: HandlerSpec) -> HandlerFacts:
        """The facts of `spec`."""
        return cls(spec.concurrency, spec.kind is EntryKind.TASK, spec.max_per_vcpu)

    def to_text(self) -> str:
        """For an environment variable."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> HandlerFacts:
        """What `to_text` wrote."""
        return cls(**json.loads(text))


def choose_mode(asked: Mode | None, facts: HandlerFacts) -> Mode:
    """
    Decide how invocations share processes.

    What the operator asked for wins over what the handler says: threads for a plain `def` that
    has not declared itself thread-safe are allowed to whoever asks for them by name.

    Raises:
        UnsupportedMode: A plain `def` was asked to run as a task.
    """
    if asked is None:
        return _DEFAULTS[facts.concurrency]
    if asked is Mode.ASYNC and not facts.is_task:
        raise UnsupportedMode(
            "Mode 'async' needs an `async def` handler; a plain `def` would block every other "
            "invocation. Use 'hybrid' if it is thread-safe, or 'process'."
        )
    if asked is Mode.HYBRID and facts.is_task:
        return Mode.ASYNC
    return asked
