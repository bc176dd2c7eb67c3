"""Joins the state machine to its surroundings: effects become writes, deadlines become timers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lmi_runtime.emulator import answers
from lmi_runtime.emulator.encoding import header_line
from lmi_runtime.emulator.facts import (
    Clock,
    Deliver,
    EmulatorStatistics,
    Hangup,
    Invocation,
    Poll,
    Settle,
)
from lmi_runtime.emulator.faults import Fault, FaultKind, FaultScript
from lmi_runtime.emulator.http import Exchange
from lmi_runtime.emulator.options import EmulatorOptions
from lmi_runtime.emulator.state import Environment

_MIN_TIMER_S = 0.001


class WaitingPoll(Poll):
    """A poll that waits on a connection."""

    __slots__ = ("exchange", "fault")

    def __init__(self, exchange: Exchange, fault: Fault | None) -> None:
        super().__init__()
        self.exchange = exchange
        self.fault = fault


class Host:
    """
    One environment on one event loop.

    Attributes:
        environment: The state machine; call `flush` after every call of one of its methods.
        faults: Scripted faults.

    Thread safety: loop thread only.
    """

    def __init__(
        self, options: EmulatorOptions, *, clock: Clock, new_id: Callable[[], str] | None = None
    ) -> None:
        ids = {} if new_id is None else {"new_id": new_id}
        self.environment = Environment(options, clock=clock, **ids)
        self.faults = FaultScript()
        self._clock = clock
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_s = 0.0
        self._watchers: list[tuple[Callable[[EmulatorStatistics], bool], asyncio.Future[None]]] = []
        self._last_delivery: Invocation | None = None
        self._arn_line = header_line("Lambda-Runtime-Invoked-Function-Arn", options.function_arn)

    def flush(self) -> None:
        """Do what the environment has decided."""
        environment = self.environment
        while environment.outbox:
            effects, environment.outbox = environment.outbox, []
            for effect in effects:
                match effect:
                    case Settle(invocation, answer):
                        invocation.caller(answer)
                    case Deliver(poll, invocation):
                        assert isinstance(poll, WaitingPoll)
                        self._deliver(poll, invocation)
                    case Hangup(poll):
                        assert isinstance(poll, WaitingPoll)
                        poll.exchange.hang_up()
        if self._watchers:
            self._wake_watchers()
        self._arm()

    async def wait_until(self, condition: Callable[[EmulatorStatistics], bool]) -> None:
        """Wait until *condition* holds for a reading."""
        if condition(self.environment.statistics()):
            return
        watcher = (condition, self._loop.create_future())
        self._watchers.append(watcher)
        try:
            await watcher[1]
        finally:
            self._watchers.remove(watcher)

    def _wake_watchers(self) -> None:
        now = self.environment.statistics()
        for condition, future in self._watchers:
            if not future.done() and condition(now):
                future.set_result(None)

    def redeliver(self, exchange: Exchange) -> bool:
        """Send the last event once more; False if there was none."""
        if self._last_delivery is None:
            return False
        event = self._last_delivery.request.event
        exchange.send(200, self._event_headers(self._last_delivery), event)
        return True

    def close(self) -> None:
        """Stop the timer; nothing expires any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _deliver(self, poll: WaitingPoll, invocation: Invocation) -> None:
        event = invocation.request.event
        self._last_delivery = invocation
        if poll.fault is not None and poll.fault.kind is FaultKind.CORRUPT_EVENT:
            event = event[: len(event) // 2] + answers.INTERNAL_ERROR.body
            self.environment.lose(invocation)
        elif invocation.request.broken:
            # What AWS's emulator appends to the bytes it has already forwarded.
            event += answers.INTERNAL_ERROR.body
        poll.exchange.send(200, self._event_headers(invocation), event)

    def _event_headers(self, invocation: Invocation) -> bytes:
        request = invocation.request
        head = (
            f"Content-Type: {request.content_type}\r\n"
            f"Lambda-Runtime-Aws-Request-Id: {request.request_id}\r\n"
            f"Lambda-Runtime-Deadline-Ms: {invocation.deadline_ms}\r\n"
        ).encode("utf-8", "surrogateescape")
        if not self._options.legacy_no_invocation_id:
            head += b"Lambda-Runtime-Invocation-Id: %b\r\n" % invocation.invocation_id.encode()
        optional = (
            ("Lambda-Runtime-Trace-Id", request.trace_id),
            ("Lambda-Runtime-Client-Context", request.client_context),
            ("Lambda-Runtime-Cognito-Identity", request.cognito_identity),
        )
        for name, value in optional:
            if value or self._options.send_empty_headers:
                head += header_line(name, value)
        return head + self._arn_line

    def _arm(self) -> None:
        due_s = self.environment.next_deadline_s()
        if due_s is None or (self._timer is not None and self._timer_due_s <= due_s):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due_s = due_s
        delay_s = max(_MIN_TIMER_S, due_s - self._clock.monotonic_s())
        self._timer = self._loop.call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.expire()

    def expire(self) -> None:
        """Time out what is overdue now."""
        self.environment.expire()
        self.flush()
