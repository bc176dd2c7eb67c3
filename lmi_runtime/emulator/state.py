"""
The emulated environment as a state machine: no sockets, no sleeping, no threads.

Every method is one thing that happened (a poll arrived, a caller left, time passed). What has to
happen next is appended to `Environment.outbox` in order; the server empties it after each call.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections import deque
from collections.abc import Callable, Mapping

from lmi_runtime.emulator import answers
from lmi_runtime.emulator.answers import Answer, Reply, error_answer, filter_error_type
from lmi_runtime.emulator.audit import Audit
from lmi_runtime.emulator.extensions import ExtensionRegistry
from lmi_runtime.emulator.facts import (
    Caller,
    Clock,
    Deliver,
    Effect,
    EmulatorStatistics,
    Hangup,
    Invocation,
    InvokeRequest,
    Phase,
    Poll,
    PostHead,
    Settle,
    Stage,
)
from lmi_runtime.emulator.late import RecentTimeouts
from lmi_runtime.emulator.options import EmulatorOptions

_RIE_DEADLINE_FACTOR = 1_000_000


class Environment:
    """
    One execution environment, decided without I/O.

    Thread safety: loop thread only; no method blocks or waits.
    """

    def __init__(
        self,
        options: EmulatorOptions,
        *,
        clock: Clock | None = None,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self.options = options
        self.phase = Phase.INIT
        self.outbox: list[Effect] = []
        self.audit = Audit(
            max_polls=options.max_concurrency,
            ids_are_sent=not options.legacy_no_invocation_id,
        )
        self.extensions = ExtensionRegistry(new_id=new_id)
        self._clock = clock or Clock()
        self._new_id = new_id
        self._idle: deque[Poll] = deque()
        self._ghosts = 0
        self._queued: list[Invocation] = []
        # Insertion order is order of deadlines: every invocation gets the same time.
        self._running: dict[str, Invocation] = {}
        self._timed_out = RecentTimeouts()
        self._runtime_ready = False
        self._init_deadline_s: float | None = None
        self._init_error_type: str | None = None
        # What callers are told once the environment is gone.
        self._epitaph: Answer | None = None
        self._counts = dict.fromkeys(
            ("invoked", "delivered", "succeeded", "failed", "refused", "timed_out", "ghosted"), 0
        )

    # --- life -----------------------------------------------------------------------------

    def start_init(self) -> None:
        """Begin (or begin again) the init phase and its time limit."""
        self.phase = Phase.INIT
        self._runtime_ready = False
        self._init_error_type = None
        self._epitaph = None
        self._idle.clear()
        self._ghosts = 0
        self.extensions.reset()
        limit_s = self.options.init_timeout_s
        self._init_deadline_s = None if limit_s is None else self._clock.monotonic_s() + limit_s

    def init_error(self, error_type: str) -> Reply:
        """POST init/error: remembered, but only the exit of the process makes it count."""
        if self._init_error_type is not None:
            return answers.SECOND_INIT_ERROR
        self._init_error_type = filter_error_type(error_type)
        return answers.ACCEPTED

    def runtime_exited(self, error_type: str = answers.EXIT_ERROR) -> None:
        """The runtime process is gone: everybody who waits learns it now."""
        if self.phase in (Phase.SHUTTING_DOWN, Phase.CLOSED):
            self.close()
            return
        self._fail(error_answer(self._init_error_type or error_type))

    def begin_shutdown(self) -> None:
        """Abort what runs, refuse what comes; half-sent responses may finish."""
        if self.phase is Phase.CLOSED:
            return
        self.phase = Phase.SHUTTING_DOWN
        aborted = error_answer(answers.SHUT_DOWN, status=400)
        for invocation in list(self._running.values()):
            if invocation.stage is Stage.RUNNING:
                self._settle(invocation, aborted)
        self._settle_queued(error_answer(answers.UNHEALTHY, status=400))

    def close(self) -> None:
        """End: idle polls see EOF, callers still waiting get the last word."""
        if self.phase is not Phase.CLOSED:
            self.begin_shutdown()
            self._hang_up(error_answer(answers.SHUT_DOWN, status=400))

    def _fail(self, epitaph: Answer) -> None:
        self._epitaph = epitaph
        self._settle_queued(epitaph)
        self._hang_up(epitaph)

    def _hang_up(self, last_word: Answer) -> None:
        for invocation in list(self._running.values()):
            self._settle(invocation, last_word)
        self.phase = Phase.CLOSED
        self.outbox.extend(Hangup(poll) for poll in self._idle if not poll.abandoned)
        self._idle.clear()
        self._ghosts = 0

    def _settle_queued(self, answer: Answer) -> None:
        queued, self._queued = self._queued, []
        for invocation in queued:
            self._settle(invocation, answer)

    # --- polls ----------------------------------------------------------------------------

    def poll(self, poll: Poll) -> Reply | None:
        """
        GET next.

        Returns:
            The immediate refusal, or None: the poll waits for a `Deliver` or a `Hangup`.
        """
        if self.phase in (Phase.SHUTTING_DOWN, Phase.CLOSED):
            self.outbox.append(Hangup(poll))
            return None
        if len(self._idle) >= self.options.max_idle_polls:
            return answers.INTERNAL_ERROR
        self._idle.append(poll)
        self.audit.polled(len(self._idle) - self._ghosts)
        if self.phase is Phase.INIT:
            self._runtime_ready = True
            self.extensions.close_registration()
            self.check_ready()
        return None

    def abandon(self, poll: Poll) -> None:
        """The client closed a waiting poll: it stays in the queue, as a ghost."""
        if poll.abandoned or poll not in self._idle:
            return
        poll.abandoned = True
        self._ghosts += 1
        if self.phase is Phase.READY:
            self.audit.abandoned()

    def check_ready(self) -> None:
        """Leave INIT once a poll and every registered extension have arrived."""
        if self.phase is Phase.INIT and self._runtime_ready and self.extensions.all_ready:
            self.phase = Phase.READY
            self._init_deadline_s = None
            queued, self._queued = self._queued, []
            for invocation in queued:
                self._route(invocation)

    # --- calls ----------------------------------------------------------------------------

    def invoke(self, request: InvokeRequest, caller: Caller) -> Invocation:
        """A caller wants the function; the answer for *caller* comes as a `Settle`."""
        self._counts["invoked"] += 1
        invocation = Invocation(request, caller)
        if self.phase is Phase.INIT:
            self._queued.append(invocation)
        elif self.phase is Phase.READY:
            self._route(invocation)
        else:
            self._settle(invocation, self._epitaph or error_answer(answers.UNHEALTHY, status=400))
        return invocation

    def caller_gone(self, invocation: Invocation) -> None:
        """The caller hung up. Nobody tells the runtime; its post will be refused."""
        if invocation.stage is Stage.QUEUED:
            self._queued = [queued for queued in self._queued if queued is not invocation]
            invocation.stage = Stage.DONE
        elif invocation.stage is Stage.RUNNING:
            self._counts["failed"] += 1
            self._finish(invocation)

    def _route(self, invocation: Invocation) -> None:
        if invocation.request.request_id in self._running:
            self._settle(invocation, error_answer(answers.DUPLICATED_ID, status=400))
            return
        limit = self.options.max_concurrency if self.options.enforce_max_concurrency else None
        if not self._idle or (limit is not None and len(self._running) >= limit):
            self._settle(invocation, self._refusal())
            return
        poll = self._idle.popleft()
        if poll.abandoned:
            self._ghosts -= 1
            self._counts["ghosted"] += 1
            self._settle(invocation, error_answer(answers.UNKNOWN))
            return
        self._deliver(invocation, poll)

    def _deliver(self, invocation: Invocation, poll: Poll) -> None:
        timeout_s = self.options.timeout_s
        factor = _RIE_DEADLINE_FACTOR if self.options.rie_deadline_bug else 1
        invocation.started_s = self._clock.monotonic_s()
        invocation.deadline_s = invocation.started_s + timeout_s
        invocation.deadline_ms = self._clock.epoch_ms() + int(timeout_s * 1000 * factor)
        invocation.invocation_id = self._new_id()
        invocation.stage = Stage.RUNNING
        self._counts["delivered"] += 1
        self.outbox.append(Deliver(poll, invocation))
        if invocation.request.broken:
            self._settle(invocation, error_answer(answers.UNKNOWN))
            return
        self._running[invocation.request.request_id] = invocation
        self.audit.delivered(invocation.request.request_id, invocation.invocation_id)

    def _refusal(self) -> Answer:
        if self.options.throttle_status == 400:
            return error_answer(answers.UNAVAILABLE, status=400)
        body = b'{"Type":"User","message":"Rate Exceeded.","Reason":"CallerRateLimitExceeded"}'
        return Answer(429, body, answers.UNAVAILABLE, "application/json")

    # --- posts ----------------------------------------------------------------------------

    def begin_response(self, head: PostHead) -> Invocation | Reply:
        """
        The head of POST response has arrived.

        Returns:
            The invocation, now UPLOADING, to be passed to one of the `*_response` methods below;
            or the refusal.
        """
        self.audit.posted(head.request_id, head.invocation_id)
        found = self._find(head)
        if isinstance(found, Reply):
            return found
        if head.response_mode not in ("", "streaming"):
            self.audit.illegal_mode(head.request_id, head.response_mode)
            self._settle(found, error_answer("Runtime.InvalidResponseModeHeader"))
            return answers.INVALID_RESPONSE_MODE
        found.stage = Stage.UPLOADING
        return found

    def finish_response(
        self,
        invocation: Invocation,
        head: PostHead,
        body: bytes,
        trailers: Mapping[str, str] | None = None,
    ) -> Reply | None:
        """
        The body of POST response is complete.

        Returns:
            The acceptance, or None if the connection has to be dropped without a status.
        """
        if invocation.stage is Stage.DONE:
            return None
        error_type = (trailers or {}).get("lambda-runtime-function-error-type", "")
        if error_type:
            details = _decode_details((trailers or {}).get("lambda-runtime-function-error-body"))
            self._settle(invocation, Answer(200, details, filter_error_type(error_type)))
        else:
            content_type = head.content_type or "application/octet-stream"
            mode = head.response_mode or "buffered"
            self._settle(invocation, Answer(200, body, None, content_type, mode))
        return answers.ACCEPTED

    def oversized_response(self, invocation: Invocation) -> Reply | None:
        """The body of POST response passed the limit."""
        if invocation.stage is Stage.DONE:
            return None
        self._settle(invocation, error_answer("Function.ResponseSizeTooLarge"))
        return answers.TOO_LARGE

    def truncated_response(self, invocation: Invocation) -> Reply | None:
        """The body of POST response ended early."""
        if invocation.stage is Stage.DONE:
            return None
        self._settle(invocation, error_answer("Runtime.TruncatedResponse"))
        return answers.TRUNCATED_REQUEST

    def post_error(self, head: PostHead, body: bytes) -> Reply:
        """POST error, complete. One whose body was too large or cut never gets here."""
        self.audit.posted(head.request_id, head.invocation_id)
        found = self._find(head, may_interrupt=True)
        if isinstance(found, Reply):
            return found
        self._settle(found, Answer(200, body, filter_error_type(head.error_type)))
        return answers.ACCEPTED

    def _find(self, head: PostHead, *, may_interrupt: bool = False) -> Invocation | Reply:
        invocation = self._running.get(head.request_id)
        if invocation is None:
            late = self._timed_out.consume(head.request_id)
            return answers.INVOKE_TIMEOUT if late else answers.INVALID_REQUEST_ID
        if head.invocation_id and head.invocation_id != invocation.invocation_id:
            return answers.INVOKE_TIMEOUT
        if invocation.stage is Stage.UPLOADING and not may_interrupt:
            return answers.INVALID_REQUEST_ID
        return invocation

    # --- time -----------------------------------------------------------------------------

    def next_deadline_s(self) -> float | None:
        """Monotonic second at which `expire` has something to do; None if never."""
        if self.phase is Phase.INIT:
            return self._init_deadline_s
        for invocation in self._running.values():
            if invocation.stage is Stage.RUNNING:
                return invocation.deadline_s
        return None

    def expire(self) -> None:
        """Time out what is overdue. The runtime is not told."""
        now_s = self._clock.monotonic_s()
        if self._init_deadline_s is not None and now_s >= self._init_deadline_s:
            self._init_deadline_s = None
            self._fail(self._timeout_answer(self.options.init_timeout_s or 0.0))
            return
        overdue = [
            invocation
            for invocation in self._running.values()
            if invocation.stage is Stage.RUNNING and now_s >= invocation.deadline_s
        ]
        for invocation in overdue:
            self.time_out(invocation)

    def time_out(self, invocation: Invocation) -> None:
        """Its time is over, whatever the clock says."""
        self._timed_out.remember(invocation.request.request_id)
        self._counts["timed_out"] += 1
        self._settle(invocation, self._timeout_answer(self.options.timeout_s))

    def lose(self, invocation: Invocation) -> None:
        """The event of a delivered invocation did not arrive whole."""
        self._settle(invocation, error_answer(answers.UNKNOWN))

    def running(self, request_id: str) -> Invocation | None:
        """The running invocation with this request id."""
        return self._running.get(request_id)

    @staticmethod
    def _timeout_answer(timeout_s: float) -> Answer:
        message = f"Task timed out after {timeout_s:.2f} seconds"
        return error_answer(answers.TIMED_OUT, message=message)

    # --- settling -------------------------------------------------------------------------

    def _settle(self, invocation: Invocation, answer: Answer) -> None:
        outcome = "succeeded" if answer.ok else "refused" if answer.refused else "failed"
        self._counts[outcome] += 1
        self._finish(invocation)
        self.outbox.append(Settle(invocation, answer))

    def _finish(self, invocation: Invocation) -> None:
        invocation.stage = Stage.DONE
        request_id = invocation.request.request_id
        if self._running.get(request_id) is invocation:
            del self._running[request_id]
            self.audit.released(request_id, invocation.invocation_id)

    def statistics(self) -> EmulatorStatistics:
        """One consistent reading."""
        counts = self._counts
        return EmulatorStatistics(
            phase=self.phase.name,
            waiting=len(self._idle) - self._ghosts,
            ghosts=self._ghosts,
            running=len(self._running),
            queued=len(self._queued),
            invoked=counts["invoked"],
            delivered=counts["delivered"],
            succeeded=counts["succeeded"],
            failed=counts["failed"],
            refused=counts["refused"],
            timed_out=counts["timed_out"],
            lost_to_ghosts=counts["ghosted"],
        )


def _decode_details(encoded: str | None) -> bytes:
    try:
        return base64.b64decode(encoded or "", validate=True)
    except binascii.Error:
        return b""
