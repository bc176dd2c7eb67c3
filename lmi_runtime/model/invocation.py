"""One delivery of one event, as frozen facts."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Invocation"]


class Invocation(NamedTuple):
    """
    What the platform said about one delivery; nothing in it changes or is shared.

    A named tuple, because a frozen dataclass of this size takes five microseconds to make, on
    every delivery. Name its fields; their order means nothing.

    Attributes:
        request_id: The caller's request id. Not unique over time: a retry may reuse it.
        invocation_id: Unique per delivery; echoed with the answer. None from older platforms.
        body: The event's bytes, not yet decoded (they may be corrupt).
        content_type: The caller's content type, ``application/json`` unless it said otherwise.
        function_arn: The ARN that was invoked.
        deadline_ms: Milliseconds since the epoch, as sent; 0 when none came.
        deadline_s: The same moment on the monotonic clock, in seconds, converted once on
            receipt. None when the platform sent none or one that cannot be true.
        trace_id: X-Ray trace header.
        client_context: JSON text, not yet decoded.
        cognito_identity: JSON text, not yet decoded.
        tenant_id: Tenant, where the platform isolates by tenant.
    """

    request_id: str
    body: bytes = b""
    content_type: str = "application/json"
    invocation_id: str | None = None
    function_arn: str | None = None
    deadline_ms: int = 0
    deadline_s: float | None = None
    trace_id: str | None = None
    client_context: str | None = None
    cognito_identity: str | None = None
    tenant_id: str | None = None
