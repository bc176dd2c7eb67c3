"""One request, as the code that serves it sees it."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.context.lambda_context import ClientContext, CognitoIdentity, LambdaContext
from lmi_runtime.model import Invocation

__all__ = ["Request"]

logger = logging.getLogger(__name__)


class Request:
    """
    The facts of one invocation, and what is kept for as long as it lasts.

    Decoding is put off until somebody asks: most handlers never look at the client context.

    Args:
        invocation: What the platform delivered.
        lambda_context: The context object, where another runtime has made it already.

    Thread safety: everything, from any task or thread.
    """

    __slots__ = ("_kept", "ended", "invocation")

    def __init__(
        self, invocation: Invocation, *, lambda_context: LambdaContext | None = None
    ) -> None:
        self.invocation: Invocation = invocation
        self.ended: bool = False
        """True once the request has been answered; it only ever becomes True (any thread)."""
        # Only ever added to, by dict.setdefault, which is atomic: no lock of its own.
        self._kept: dict[object, Any] = {}
        if lambda_context is not None:
            self._kept[LambdaContext] = lambda_context

    @classmethod
    def from_context(cls, lambda_context: Any) -> Request:
        """The request that another runtime's context object tells of, as far as it does."""
        remaining = getattr(lambda_context, "get_remaining_time_in_millis", None)
        remaining_ms = remaining() if callable(remaining) else None
        invocation = Invocation(
            request_id=getattr(lambda_context, "aws_request_id", None) or "",
            function_arn=getattr(lambda_context, "invoked_function_arn", None),
            deadline_ms=getattr(lambda_context, "_epoch_deadline_time_in_ms", None) or 0,
            deadline_s=None if remaining_ms is None else _sync.monotonic() + remaining_ms / 1000,
            # Such a runtime serves one request at a time and puts the trace where all can see it.
            trace_id=os.environ.get("_X_AMZN_TRACE_ID"),
            tenant_id=getattr(lambda_context, "tenant_id", None),
        )
        return cls(invocation, lambda_context=lambda_context)

    def end(self) -> None:
        """
        Note that the request has been answered: `current()` gives it to nobody any more.

        Everything that `at_end` was given is called, the latest first.
        """
        self.ended = True
        if _ENDINGS in self._kept:
            self._call_endings()

    def at_end(self, callback: Callable[[], object]) -> None:
        """
        Have `callback` called when the request has been answered; at once when it has been.

        It is called exactly once, and must not block: it may run in an event loop's thread. What
        it raises is logged.

        Thread safety: from any thread, also while the request ends.
        """
        endings: list[Callable[[], object]] = self._kept.setdefault(_ENDINGS, [])
        endings.append(callback)
        # Only now: whoever ends the request meanwhile has seen the callback, or is seen here.
        if self.ended:
            self._call_endings()

    def _call_endings(self) -> None:
        endings: list[Callable[[], object]] = self._kept[_ENDINGS]
        while endings:
            try:
                callback = endings.pop()  # atomic: of two threads that end it, one gets each
            except IndexError:
                return
            try:
                callback()
            except BaseException:
                text = "What was to be done at the end of request %s failed."
                logger.exception(text, self.request_id)

    @property
    def request_id(self) -> str:
        """The caller's request id. Not unique over time: a retry may reuse it."""
        return self.invocation.request_id

    @property
    def invocation_id(self) -> str | None:
        """Unique per delivery. None from older platforms."""
        return self.invocation.invocation_id

    @property
    def function_arn(self) -> str | None:
        """The ARN that was invoked."""
        return self.invocation.function_arn

    @property
    def trace_id(self) -> str | None:
        """X-Ray trace header of this request; use it instead of ``_X_AMZN_TRACE_ID``."""
        return self.invocation.trace_id

    @property
    def tenant_id(self) -> str | None:
        """Tenant, where the platform isolates by tenant."""
        return self.invocation.tenant_id

    @property
    def deadline_s(self) -> float | None:
        """When the platform gives up, in seconds of the monotonic clock, or None."""
        return self.invocation.deadline_s

    def remaining_s(self) -> float:
        """Seconds until the deadline, never below 0; infinite when there is none."""
        deadline_s = self.invocation.deadline_s
        if deadline_s is None:
            return math.inf
        return max(0.0, deadline_s - _sync.monotonic())

    @property
    def lambda_context(self) -> LambdaContext:
        """
        The object that handlers get as `context`; the same one on every call.

        Raises:
            ContextUnmarshalError: A header that should hold JSON does not.
        """
        made: LambdaContext | None = self._kept.get(LambdaContext)
        if made is None:
            # Two threads may both build one; setdefault lets everybody see the first.
            made = self._kept.setdefault(
                LambdaContext, LambdaContext.from_invocation(self.invocation)
            )
        return made

    @property
    def client_context(self) -> ClientContext | None:
        """
        What the caller's SDK said about itself, or None.

        Raises:
            ContextUnmarshalError: The header is corrupt.
        """
        return self.lambda_context.client_context

    @property
    def cognito_identity(self) -> CognitoIdentity:
        """
        The Cognito identity that authorized the request; its fields are None without one.

        Raises:
            ContextUnmarshalError: The header is corrupt.
        """
        return self.lambda_context.identity

    @property
    def w3c(self) -> Mapping[str, str]:
        """
        W3C trace context: those of traceparent, tracestate and baggage that were sent.

        Raises:
            ContextUnmarshalError: The header is corrupt.
        """
        return self.lambda_context.w3c()

    def keep(self, key: object, factory: Callable[[], Any]) -> Any:
        """
        What `factory` returned when `key` was first asked for in this request.

        Thread safety: of any number of threads, exactly one runs `factory`; the others wait
        for it. When it raises, the next one to ask runs it again.
        """
        cell: _Cell = self._kept.get(key) or self._kept.setdefault(key, _Cell())
        return cell.value(factory)

    def __repr__(self) -> str:
        state = " ended" if self.ended else ""
        return f"<Request {self.request_id}{state}>"


_ENDINGS = object()
"""The key of what `at_end` was given. Few requests have any: no attribute of every request."""


class _Cell:
    """
    A value that is made once.

    Thread safety: from any thread. The lock is re-entrant: a factory may read variables.
    """

    __slots__ = ("_lock", "_made", "_value")

    def __init__(self) -> None:
        self._lock = _sync.RLock()
        self._made = False  # guarded by _lock
        self._value: Any = None  # guarded by _lock

    def value(self, factory: Callable[[], Any]) -> Any:
        with self._lock:
            if not self._made:
                self._value = factory()
                self._made = True
            return self._value
