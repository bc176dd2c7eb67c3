"""A Runtime API in memory: the port without a wire, strict about what a client may do."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel

from lmi_runtime.errors import RuntimeApiClosed, RuntimeApiError, RuntimeApiUnreachable
from lmi_runtime.model import (
    Failure,
    Invocation,
    PostResult,
    PostVerdict,
    Streaming,
    Success,
)

__all__ = ["Call", "MemoryApi", "MemoryLedger"]


@dataclass(eq=False)
class Call:
    """One invocation as its caller sees it."""

    invocation: Invocation
    answered: anyio.Event = field(default_factory=anyio.Event)
    answers: list[Success | Failure] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    gone: bool = False

    @property
    def body(self) -> bytes:
        """The body of the only answer, which has to be a success."""
        (answer,) = self.answers
        assert isinstance(answer, Success), answer
        return answer.body

    @property
    def failure(self) -> Failure:
        """The only answer, which has to be a failure."""
        (answer,) = self.answers
        assert isinstance(answer, Failure), answer
        return answer


class MemoryApi:
    """
    The port in memory. `call` is the caller's side; everything else is `RuntimeApi`.

    Like the real one it queues nothing: a call that finds no waiting poll is refused.
    """

    def __init__(self) -> None:
        self.polls: deque[tuple[anyio.Event, list[Invocation]]] = deque()
        self.most_polls = 0
        self.refused = 0
        self.broken = False
        self.verdicts: deque[PostVerdict] = deque()
        self.posts: list[str] = []
        self._open: dict[Invocation, Call] = {}
        self._numbers = itertools.count()
        self._stopping = False

    # ---- the caller

    def call(self, body: bytes = b"{}", *, deadline_s: float | None = None) -> Call | None:
        """Deliver one event to the oldest poll; None when there is none."""
        if not self.polls:
            self.refused += 1
            return None
        number = next(self._numbers)
        invocation = Invocation(
            request_id=f"request-{number}",
            invocation_id=f"delivery-{number}",
            body=body,
            deadline_s=deadline_s,
        )
        call = self._open[invocation] = Call(invocation)
        event, box = self.polls.popleft()
        box.append(invocation)
        event.set()
        return call

    def unreachable(self) -> None:
        """Let every poll fail for good."""
        self.broken = True
        while self.polls:
            self.polls.popleft()[0].set()

    async def wait_polls(self, count: int) -> None:
        """Wait until `count` polls are waiting."""
        with anyio.fail_after(5):
            while len(self.polls) < count:
                await anyio.lowlevel.checkpoint()

    # ---- RuntimeApi

    async def next(self) -> Invocation:
        event, box = poll = anyio.Event(), []
        self.polls.append(poll)
        self.most_polls = max(self.most_polls, len(self.polls))
        try:
            await event.wait()
        finally:
            if poll in self.polls:
                self.polls.remove(poll)
        if not box:
            raise RuntimeApiUnreachable("gone") if self.broken else RuntimeApiClosed("closed")
        return box[0]

    async def respond(self, invocation: Invocation, success: Success) -> PostResult:
        return await self._post(invocation, success)

    async def fail(self, invocation: Invocation, failure: Failure) -> PostResult:
        return await self._post(invocation, failure)

    @asynccontextmanager
    async def stream(self, invocation: Invocation, head: Streaming) -> AsyncIterator[_Stream]:
        yield _Stream(self, self._open[invocation], head)

    def stopping(self) -> None:
        self._stopping = True

    async def aclose(self) -> None:
        while self.polls:
            self.polls.popleft()[0].set()

    async def _post(self, invocation: Invocation, answer: Success | Failure) -> PostResult:
        await anyio.lowlevel.checkpoint()
        self.posts.append(invocation.request_id)
        if self.verdicts and (verdict := self.verdicts.popleft()) is not PostVerdict.ACCEPTED:
            return PostResult(verdict, "scripted")
        call = self._open[invocation]
        call.answers.append(answer)
        call.answered.set()
        return PostResult(PostVerdict.ACCEPTED)


class _Stream:
    pointless = False

    def __init__(self, api: MemoryApi, call: Call, head: Streaming) -> None:
        self._api = api
        self._call = call
        self._head = head

    async def write(self, chunk: bytes) -> None:
        if self._api.broken:
            raise RuntimeApiError("the upload broke")
        await anyio.lowlevel.checkpoint()
        self._call.chunks.append(chunk)
        self.pointless = self._call.gone

    async def finish(self) -> PostResult:
        whole = Success(b"".join(self._call.chunks), self._head.content_type)
        return await self._api._post(self._call.invocation, whole)

    async def fail(self, failure: Failure) -> PostResult:
        return await self._api._post(self._call.invocation, failure)


class MemoryLedger:
    """Remembers the request ids in flight, and that each ticket ends once."""

    def __init__(self) -> None:
        self.in_flight: dict[int, str] = {}
        self._tickets = itertools.count()

    def begin(self, invocation: Invocation) -> int:
        ticket = next(self._tickets)
        self.in_flight[ticket] = invocation.request_id
        return ticket

    def end(self, ticket: int) -> None:
        del self.in_flight[ticket]
