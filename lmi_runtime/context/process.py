"""What this process is within its execution environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from lmi_runtime import _sync

__all__ = ["WorkerFacts", "set_worker", "worker"]


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """
    What one process may count on.

    Attributes:
        slots: Invocations that this process serves at once, at most.
        processes: Processes of this environment that serve invocations.
    """

    slots: int = 1
    processes: int = 1

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> WorkerFacts:
        """Where AWS's own client runs the function: a process for each concurrent request."""
        text = environ.get("AWS_LAMBDA_MAX_CONCURRENCY", "")
        return cls(slots=1, processes=max(1, int(text)) if text.isdecimal() else 1)


_lock = _sync.Lock()
_facts: WorkerFacts | None = (
    None  # guarded by _lock; read without: it changes before user code runs
)


def set_worker(facts: WorkerFacts) -> None:
    """Say what this process is. Called by the runtime before it imports the function."""
    global _facts
    with _lock:
        _facts = facts


def worker() -> WorkerFacts:
    """
    What this process is: how many invocations it serves at once, beside how many siblings.

    Thread safety: from any thread.
    """
    return _facts or WorkerFacts.from_environ(os.environ)
