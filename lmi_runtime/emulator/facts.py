"""What the emulator's state machine talks about: invocations, polls, effects, readings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from lmi_runtime._sync import monotonic, wall_time
from lmi_runtime.emulator.answers import Answer

Caller = Callable[[Answer], None]


class Phase(Enum):
    """Life of an environment."""

    INIT = auto()
    READY = auto()
    SHUTTING_DOWN = auto()
    CLOSED = auto()


class Stage(Enum):
    """Life of one invocation."""

    QUEUED = auto()
    RUNNING = auto()
    UPLOADING = auto()
    DONE = auto()


@dataclass(frozen=True, slots=True)
class Clock:
    """
    The two clocks the environment reads.

    Attributes:
        monotonic_s: Seconds that never go back; deadlines are measured with it.
        epoch_ms: Milliseconds since 1970; only `Lambda-Runtime-Deadline-Ms` uses it.
    """

    monotonic_s: Callable[[], float] = monotonic
    epoch_ms: Callable[[], int] = lambda: int(wall_time() * 1000)


@dataclass(frozen=True, slots=True)
class InvokeRequest:
    """
    One call of the function, as the caller sent it.

    Attributes:
        event: Body of the call, any bytes.
        request_id: The caller's choice; the same id may come again later.
        content_type: Media type of the event.
        trace_id: X-Ray header, empty if none.
        client_context: JSON text, empty if none.
        cognito_identity: JSON text, empty if none.
        broken: The caller's upload ended early, *event* holds what arrived.
    """

    event: bytes
    request_id: str
    content_type: str = "application/json"
    trace_id: str = ""
    client_context: str = ""
    cognito_identity: str = ""
    broken: bool = False


class Poll:
    """
    One waiting GET next. The state machine only needs its identity and whether it was abandoned.

    Thread safety: loop thread only.
    """

    __slots__ = ("abandoned",)

    def __init__(self) -> None:
        self.abandoned = False


class Invocation:
    """
    One accepted call on its way.

    Thread safety: loop thread only.
    """

    __slots__ = (
        "caller",
        "deadline_ms",
        "deadline_s",
        "invocation_id",
        "request",
        "stage",
        "started_s",
    )

    def __init__(self, request: InvokeRequest, caller: Caller) -> None:
        self.request = request
        self.caller = caller
        self.stage = Stage.QUEUED
        self.invocation_id = ""
        self.started_s = 0.0
        self.deadline_s = 0.0
        self.deadline_ms = 0


@dataclass(frozen=True, slots=True)
class Deliver:
    """Write the invocation's event as the answer to *poll*."""

    poll: Poll
    invocation: Invocation


@dataclass(frozen=True, slots=True)
class Settle:
    """Give *answer* to the caller of *invocation*."""

    invocation: Invocation
    answer: Answer


@dataclass(frozen=True, slots=True)
class Hangup:
    """Close the connection of *poll* without a status line."""

    poll: Poll


Effect = Deliver | Settle | Hangup


@dataclass(frozen=True, slots=True)
class PostHead:
    """
    The head of a POST response or POST error.

    Attributes:
        request_id: From the path, percent-decoded.
        invocation_id: `Lambda-Runtime-Invocation-Id`, empty if absent.
        content_type: `Content-Type`, empty if absent.
        response_mode: `Lambda-Runtime-Function-Response-Mode`, empty if absent.
        error_type: `Lambda-Runtime-Function-Error-Type`, empty if absent.
    """

    request_id: str
    invocation_id: str = ""
    content_type: str = ""
    response_mode: str = ""
    error_type: str = ""


@dataclass(frozen=True, slots=True)
class EmulatorStatistics:
    """
    One consistent reading of the environment.

    Attributes:
        phase: Name of the phase.
        waiting: Polls waiting now, without ghosts.
        ghosts: Abandoned polls still in the queue.
        running: Invocations delivered and not finished.
        queued: Calls that wait for init.
        invoked: Calls received since start.
        delivered: Events handed to the runtime.
        succeeded: Callers that got a result.
        failed: Callers that got an error of the function or the platform, refusals left out.
        refused: Callers refused because no poll waited or the limit was reached.
        timed_out: Callers that were told `Sandbox.Timedout`.
        lost_to_ghosts: Events routed to an abandoned poll.
    """

    phase: str
    waiting: int
    ghosts: int
    running: int
    queued: int
    invoked: int
    delivered: int
    succeeded: int
    failed: int
    refused: int
    timed_out: int
    lost_to_ghosts: int
