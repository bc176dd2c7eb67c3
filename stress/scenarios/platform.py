"""The other side of the dispatch loop, in memory: a platform that waits and never spins."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel

from lmi_runtime.errors import RuntimeApiClosed
from lmi_runtime.model import Failure, Invocation, PostResult, PostVerdict, Success

__all__ = ["Call", "Ledger", "Platform"]


@dataclass(eq=False)
class Call:
    """One invocation as its caller sees it."""

    invocation: Invocation
    answered: anyio.Event = field(default_factory=anyio.Event)
    answers: list[Success | Failure] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        """The body of the only answer, which has to be a success."""
        (answer,) = self.answers
        assert isinstance(answer, Success), answer
        return answer.body


class Platform:
    """
    A `RuntimeApi` whose callers wait for a poll.

    Attributes:
        calls: What was delivered, in order.
        on_the_way: Deliveries whose poll has not returned yet.

    Thread safety: loop thread only.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.on_the_way = 0
        self._landed = anyio.Event()
        self._polls: deque[tuple[anyio.Event, list[Invocation]]] = deque()
        self._callers: deque[anyio.Event] = deque()
        self._open: dict[str, Call] = {}
        self._numbers = itertools.count(1)

    async def call(self, *, deadline_s: float | None = None) -> Call:
        """Deliver one event as soon as a poll waits for it."""
        while not self._polls:
            polled = anyio.Event()
            self._callers.append(polled)
            await polled.wait()
        number = next(self._numbers)
        call = Call(Invocation(request_id=f"request-{number}", deadline_s=deadline_s))
        self._open[call.invocation.request_id] = call
        self.calls.append(call)
        event, box = self._polls.popleft()
        box.append(call.invocation)
        self.on_the_way += 1
        event.set()
        return call

    async def next(self) -> Invocation:
        """See `RuntimeApi`."""
        event = anyio.Event()
        box: list[Invocation] = []
        self._polls.append((event, box))
        if self._callers:
            self._callers.popleft().set()
        await event.wait()
        if not box:
            raise RuntimeApiClosed("closed")
        self.on_the_way -= 1
        self._landed.set()
        return box[0]

    async def respond(self, invocation: Invocation, success: Success) -> PostResult:
        """See `RuntimeApi`."""
        return await self._post(invocation, success)

    async def fail(self, invocation: Invocation, failure: Failure) -> PostResult:
        """See `RuntimeApi`."""
        return await self._post(invocation, failure)

    def stopping(self) -> None:
        """See `RuntimeApi`."""

    async def nothing_on_the_way(self) -> None:
        """Wait until every poll that was given an event has returned it."""
        while self.on_the_way:
            self._landed = anyio.Event()
            await self._landed.wait()

    async def _post(self, invocation: Invocation, answer: Success | Failure) -> PostResult:
        await anyio.lowlevel.checkpoint()
        call = self._open[invocation.request_id]
        call.answers.append(answer)
        call.answered.set()
        return PostResult(PostVerdict.ACCEPTED)


class Ledger:
    """An `InFlightLedger` that refuses to end a ticket twice."""

    def __init__(self) -> None:
        self.in_flight: dict[int, str] = {}
        self._tickets = itertools.count()

    def begin(self, invocation: Invocation) -> int:
        """See `InFlightLedger`."""
        ticket = next(self._tickets)
        self.in_flight[ticket] = invocation.request_id
        return ticket

    def end(self, ticket: int) -> None:
        """See `InFlightLedger`."""
        del self.in_flight[ticket]
