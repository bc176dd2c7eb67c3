"""What a pool keeps: its connections, those who wait for one, and the lanes they meet in."""

from __future__ import annotations

import enum
from collections import OrderedDict, deque
from types import CodeType, TracebackType
from typing import Generic, TypeVar

from lmi_runtime import _sync
from lmi_runtime.context import Request
from lmi_runtime.pools.model import Permit

__all__ = ["Lane", "Member", "Place", "Waiter", "WaiterState"]

C = TypeVar("C")

Place = tuple[tuple[CodeType, int], ...]
"""Where a lease was taken: code and instruction of each frame, innermost first."""


class Member(Generic[C]):
    """
    One open connection.

    Thread safety: whoever holds it out of the lanes owns it; `doomed` and `suspect` are guarded
    by the pool's lock.
    """

    __slots__ = (
        "connection",
        "doomed",
        "expires_s",
        "fresh_until_s",
        "kept_until_s",
        "lane",
        "leased_s",
        "lent",
        "opened_s",
        "permit",
        "reported_s",
        "request",
        "returned_s",
        "suspect",
        "where",
    )

    def __init__(
        self, connection: C, lane: Lane[C], permit: Permit | None, now_s: float, expires_s: float
    ) -> None:
        self.connection = connection
        self.lane = lane
        self.permit = permit
        self.opened_s = now_s
        self.expires_s = expires_s
        self.returned_s = now_s
        self.leased_s = now_s
        self.fresh_until_s = now_s
        """Until then it may be lent as it is; later somebody looks first."""
        self.request: Request | None = None
        self.where: Place = ()
        self.lent = False
        self.reported_s: float | None = None
        """The `leased_s` of a lease that has been told of in the log."""
        self.doomed: str | None = None
        """Why it is closed when it comes back: the name of a counter."""
        self.suspect = False
        """Something happened that connections do not survive: look before lending it."""
        self.kept_until_s = expires_s
        """Until then nothing has to be asked when it comes back."""

    def lend(self, now_s: float) -> None:
        """Somebody has it from now on."""
        self.lent = True
        self.leased_s = now_s

    def doom(self, counter: str) -> None:
        """Have it closed when it comes back; `counter` counts it."""
        self.doomed = self.doomed or counter
        self.kept_until_s = 0.0

    def distrust(self) -> None:
        """Have it looked at before it is lent again."""
        self.suspect = True
        self.kept_until_s = self.fresh_until_s = 0.0

    def release_permit(self) -> None:
        """Let others open a connection in its place."""
        if self.permit is not None:
            self.permit.release()

    def trust(self) -> None:
        """It has been looked at."""
        self.suspect = False
        if self.doomed is None:
            self.kept_until_s = self.expires_s


class WaiterState(enum.Enum):
    """What became of a wait."""

    WAITING = enum.auto()
    HANDED = enum.auto()
    """A connection is set aside for it; it has not been seen to take it."""
    ANSWERED = enum.auto()
    """It gets an error."""
    OVER = enum.auto()
    """It has its connection, or has stopped waiting."""


class Waiter(Generic[C]):
    """
    A request that waits for a connection.

    Thread safety: every attribute is guarded by the pool's lock.
    """

    __slots__ = (
        "arrived_s",
        "deadline_s",
        "error",
        "handed_s",
        "lane",
        "member",
        "parker",
        "state",
        "traceback",
    )

    def __init__(
        self,
        lane: Lane[C],
        parker: _sync.ThreadParker | _sync.AsyncParker,
        arrived_s: float,
        deadline_s: float,
    ) -> None:
        self.lane = lane
        self.parker = parker
        self.arrived_s = arrived_s
        self.deadline_s = deadline_s
        self.state = WaiterState.WAITING
        self.member: Member[C] | None = None
        self.handed_s = 0.0
        self.error: BaseException | None = None
        self.traceback: TracebackType | None = None


class Lane(Generic[C]):
    """
    Connections, and requests, that may meet.

    Connections that any thread may use are all in one lane. Those that belong to an event loop
    have a lane for each loop.

    Thread safety: every attribute is guarded by the pool's lock.
    """

    __slots__ = ("handed", "home", "idle", "line", "open", "opening", "permits")

    def __init__(self, home: _sync.Home | None) -> None:
        self.home = home
        self.idle: deque[Member[C]] = deque()
        """The one used last is at the right end, and is lent next: the others grow old."""
        self.line: OrderedDict[Waiter[C], None] = OrderedDict()
        self.handed: set[Waiter[C]] = set()
        self.open = 0
        self.opening = 0
        self.permits: set[Permit] = set()
        """Of attempts under way on a loop. Changed in atomic steps, without the lock."""
