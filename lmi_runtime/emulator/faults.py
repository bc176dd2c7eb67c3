"""Scripted misbehaviour of the platform, one call at a time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

Call = Literal["next", "response", "error", "init_error"]


class FaultKind(Enum):
    """What goes wrong."""

    REPLY = auto()
    """Read the whole request, reply `status`, and forget that it came."""

    HANG_UP = auto()
    """Read the whole request, close without a status line, and forget that it came."""

    DROP_REPLY = auto()
    """Act on the request, then close without a status line. Not for `next`."""

    DELAY = auto()
    """Act on the request `delay_s` seconds later."""

    RESET_UPLOAD = auto()
    """Reset the connection as soon as the head of the request has arrived."""

    REPLY_EARLY = auto()
    """Reply `status` before the body has arrived, and close; forget that the request came."""

    CORRUPT_EVENT = auto()
    """Deliver half of the event and an error object behind it, with status 200. Only `next`."""

    REDELIVER = auto()
    """Deliver the previous event once more, ids and all. Only `next`."""

    TIME_OUT_FIRST = auto()
    """Time the invocation out, then act on the request: 410. Only `response` and `error`."""


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One scripted fault.

    Attributes:
        kind: What goes wrong.
        status: HTTP status for REPLY and REPLY_EARLY.
        delay_s: Seconds for DELAY.
    """

    kind: FaultKind
    status: int = 500
    delay_s: float = 0.0


class FaultScript:
    """
    The faults still to come, in order, for each kind of call.

    Thread safety: loop thread only.
    """

    def __init__(self) -> None:
        self._scripts: dict[Call, deque[Fault | None]] = {}

    def add(self, call: Call, fault: Fault, *, times: int = 1, after: int = 0) -> None:
        """
        Let *fault* happen to the next calls that have no fault yet.

        Args:
            call: Which requests of the runtime are hit.
            fault: What happens to them.
            times: How many calls in a row.
            after: How many calls pass unharmed before the first.
        """
        script = self._scripts.setdefault(call, deque())
        script.extend([None] * after)
        script.extend([fault] * times)

    def take(self, call: Call) -> Fault | None:
        """The fault for a call that has just arrived."""
        script = self._scripts.get(call)
        return script.popleft() if script else None

    @property
    def pending(self) -> int:
        """Faults that have not happened yet."""
        return sum(fault is not None for script in self._scripts.values() for fault in script)
