"""What this process is within its execution environment."""

from __future__ import annotations

import os
from collections.abc import Mapping

from lmi_runtime import _sync
from lmi_runtime._facts import Facts

__all__ = ["WorkerFacts", "set_worker", "set_worker_loop", "worker", "worker_loop"]


class WorkerFacts(Facts, kw_only=False):
    """
    What one process may count on.

    Attributes:
        slots: Invocations that this process serves at once: its share of the environment's.
        spare: How many more it may serve for a while, when the platform gives it what a sibling
            could have had.
        processes: Processes of this environment that serve invocations.
    """

    slots: int = 1
    spare: int = 0
    processes: int = 1

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> WorkerFacts:
        """Where AWS's own client runs the function: a process for each concurrent request."""
        text = environ.get("AWS_LAMBDA_MAX_CONCURRENCY", "")
        return cls(slots=1, processes=max(1, int(text)) if text.isdecimal() else 1)


# Both are set by the runtime before user code runs, and read by any thread.
_facts: WorkerFacts | None = None
_loop: _sync.Home | None = None


def set_worker(facts: WorkerFacts) -> None:
    """Say what this process is. Called by the runtime before it imports the function."""
    global _facts
    _facts = facts


def worker() -> WorkerFacts:
    """
    What this process is: how many invocations it serves at once, beside how many siblings.

    Thread safety: from any thread.
    """
    return _facts or WorkerFacts.from_environ(os.environ)


def set_worker_loop(home: _sync.Home | None) -> None:
    """Say which event loop serves requests. Called by the runtime."""
    global _loop
    _loop = home


def worker_loop() -> _sync.Home | None:
    """
    The event loop that serves requests, where a thread may have something done; None without one.

    Thread safety: from any thread.
    """
    return _loop


def _forget_loop_in_child() -> None:
    set_worker_loop(None)


os.register_at_fork(after_in_child=_forget_loop_in_child)
