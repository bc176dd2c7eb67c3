"""How one invocation ended, as frozen facts, and what the platform said to the answer."""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

__all__ = [
    "MAX_ERROR_BYTES",
    "MAX_RESPONSE_BYTES",
    "Failure",
    "Outcome",
    "PostResult",
    "PostVerdict",
    "StreamFailed",
    "Streaming",
    "Success",
]

MAX_RESPONSE_BYTES = 6 * 1024 * 1024 + 100
"""Largest buffered response the Runtime API accepts, in bytes."""

MAX_ERROR_BYTES = 1024 * 1024
"""Largest error body the Runtime API accepts, in bytes."""


@dataclass(frozen=True, slots=True)
class Success:
    """A buffered response: `body` bytes of `content_type`."""

    body: bytes
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Failure:
    """
    An error answer.

    Attributes:
        error_type: What the platform's header says, such as ``Function.ValueError``.
        error_class: What the body says, such as ``ValueError``.
        message: The exception's text.
        stack: Formatted frames, outermost first.
        xray_cause: JSON for X-Ray's error-cause header, or None.
    """

    error_type: str
    error_class: str
    message: str
    stack: tuple[str, ...] = ()
    xray_cause: bytes | None = None


@dataclass(frozen=True, slots=True)
class Streaming:
    """
    A response that is sent while it is made.

    Attributes:
        chunks: Non-empty byte strings. Raises `StreamFailed` when user code fails midway.
            The first chunk has been made already: a failure before it is a `Failure`. Whoever
            takes the chunks closes the generator, however it ends.
        content_type: Content type of the whole stream.
    """

    chunks: AsyncGenerator[bytes, None]
    content_type: str = "application/octet-stream"


Outcome = Success | Failure | Streaming


class StreamFailed(Exception):
    """User code failed after the first byte was sent; `failure` says how."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class PostVerdict(enum.Enum):
    """What became of an answer."""

    ACCEPTED = "accepted"
    STALE = "stale"  # timed out, or answered before: 400 and 410. Never posted again.
    TOO_LARGE = "too large"
    LOST = "lost"  # the Runtime API could not be told


@dataclass(frozen=True, slots=True)
class PostResult:
    """What the Runtime API said to an answer; `detail` is for the log."""

    verdict: PostVerdict
    detail: str = field(default="", compare=False)
