"""The ports: what one room needs of another, without knowing which room it is."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from lmi_runtime.model.invocation import Invocation
    from lmi_runtime.model.outcome import Failure, Outcome, PostResult, Streaming, Success

__all__ = ["AnswerStream", "Entry", "EntryKind", "InFlightLedger", "RuntimeApi"]


class AnswerStream(Protocol):
    """
    The upload of one streamed response.

    Attributes:
        pointless: Nothing more can reach the caller: making more of the stream makes no sense.
            `write` takes it all the same, and drops it.
    """

    @property
    def pointless(self) -> bool: ...

    async def write(self, chunk: bytes) -> None:
        """Send `chunk`; returns when it may be followed by the next (back-pressure)."""
        ...

    async def finish(self) -> PostResult:
        """End the stream well."""
        ...

    async def fail(self, failure: Failure) -> PostResult:
        """End the stream with the error in its trailers."""
        ...


class RuntimeApi(Protocol):
    """
    The Runtime API as the dispatcher sees it.

    Thread safety: loop thread only; any number of calls may be under way at once.
    """

    async def next(self) -> Invocation:
        """
        Wait, without bound, for one event.

        Retries every fault of the Runtime API by itself. Never cancel it while the process
        wants to go on serving: an abandoned poll loses the event that is routed to it.

        Raises:
            RuntimeApiClosed: `stopping()` was called and the platform hung up.
            RuntimeApiUnreachable: No contact for so long that the process should exit.
        """
        ...

    async def respond(self, invocation: Invocation, success: Success) -> PostResult:
        """Post a response. Never raises for what the platform answers."""
        ...

    async def fail(self, invocation: Invocation, failure: Failure) -> PostResult:
        """Post an error. Never raises for what the platform answers."""
        ...

    def stream(
        self, invocation: Invocation, head: Streaming
    ) -> AbstractAsyncContextManager[AnswerStream]:
        """Open a streamed response; the body is written by the caller."""
        ...

    def stopping(self) -> None:
        """From now on a closed connection is the end, not a fault."""
        ...

    async def aclose(self) -> None:
        """Close every connection, waiting polls included: only when the process ends."""
        ...


class EntryKind(enum.Enum):
    """Where a handler's code may run."""

    TASK = "task"
    THREAD = "thread"


class Entry(Protocol):
    """
    A handler made ready: bytes in, outcome out, user code in between.

    `serve` and `serve_blocking` never raise what user code raised; every fault of one
    invocation is a `Failure`. They do let the cancellation of the calling task through.
    """

    kind: EntryKind
    deadline_margin_s: float
    cancel_at_deadline: bool

    async def serve(self, invocation: Invocation) -> Outcome:
        """Run a handler of kind `TASK` in the current task and context."""
        ...

    def serve_blocking(self, invocation: Invocation) -> Outcome:
        """Run a handler of kind `THREAD` in the current thread and context."""
        ...


class InFlightLedger(Protocol):
    """
    Remembers what is in flight, so that somebody else can answer it should this process die.

    Thread safety: loop thread only.
    """

    def begin(self, invocation: Invocation) -> int:
        """Note that `invocation` is being served; returns a ticket for `end`."""
        ...

    def end(self, ticket: int) -> None:
        """Forget it: it has been answered."""
        ...


Clock = Callable[[], float]
"""Seconds on some clock."""
