"""What a load under way is, who waits for it, and what it waits for itself."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from contextvars import ContextVar
from functools import partial
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.caches.model import Outcome
from lmi_runtime.errors import ReentrantLoad, WrongKindOfCaller

__all__ = [
    "Ask",
    "Flight",
    "Waiter",
    "enter",
    "hold",
    "inside",
    "is_async",
    "refuse",
    "rouse_locked",
    "run_within",
]


class Ask:
    """What one caller wants; never changed."""

    __slots__ = ("deadline_s", "key", "loader", "tags", "tenant", "ttl_s")

    def __init__(
        self,
        key: Hashable,
        loader: Callable[[], Any],
        *,
        ttl_s: float | None = None,
        tags: Iterable[str] = (),
        deadline_s: float | None = None,
        tenant: str | None = None,
    ) -> None:
        self.key = key
        self.loader = loader
        self.ttl_s = ttl_s
        self.tags = frozenset(tags)
        self.deadline_s = deadline_s
        self.tenant = tenant


class Flight:
    """
    A load under way.

    Attributes:
        outcome: How it ended; None as long as it has not, and when all have taken it: an error
            holds the frames it went through, and these the flight.
        over: True when it has ended, or been given up. Only ever becomes True.
        tenant: Whose data is loaded, where the cache keeps tenants apart.
    """

    __slots__ = (
        "aboard",
        "ask",
        "background",
        "began_s",
        "candidate",
        "edges",
        "home",
        "marks",
        "outcome",
        "over",
        "runner",
        "task",
        "ticks",
        "waiters",
    )

    def __init__(self, ask: Ask, home: _sync.Home | None, *, background: bool = False) -> None:
        self.ask = ask
        self.background = background
        self.began_s = _sync.monotonic()
        # All that follows is guarded by the lock of the flights.
        self.home = home  # of the loop that runs it; None: a thread does
        self.runner: object | None = object()  # whoever runs it has this very object
        self.task: _sync.BackgroundTask | None = None
        self.candidate: Waiter | None = None  # who is to run it next, and has not begun yet
        self.waiters: dict[Waiter, None] = {}
        self.aboard = 0  # those who have boarded and not left
        self.ticks = 0  # how often a tag was invalidated meanwhile
        self.marks: dict[str, int] = {}  # those tags, and at which tick each was last
        self.outcome: Outcome | None = None
        self.over = False
        # What code of this load waits for now. Each change is one atomic operation.
        self.edges: dict[object, Flight] = {}

    @property
    def tenant(self) -> str | None:
        return self.ask.tenant

    def landed(self) -> Outcome:
        """How it ended, which it has."""
        assert self.outcome is not None
        return self.outcome


class Waiter:
    """One caller aboard a flight. All but `ask` and `home` is guarded by the flights' lock."""

    __slots__ = ("ask", "flight", "home", "leads", "mark", "parker", "verdict")

    def __init__(self, ask: Ask, home: _sync.Home | None) -> None:
        self.ask = ask
        self.home = home
        self.flight: Flight
        self.leads = False
        self.mark = 0  # ticks of the flight when it came
        self.parker: _sync.ThreadParker | _sync.AsyncParker | None = None
        self.verdict: BaseException | None = None  # for this caller alone

    def came_too_late(self, outcome: Outcome) -> bool:
        """Whether one of the value's tags had been invalidated before this caller came."""
        marks = self.flight.marks
        return bool(marks) and any(
            marks.get(tag, self.mark + 1) <= self.mark for tag in outcome.tags
        )


_inside: ContextVar[Flight | None] = ContextVar("lmi_load", default=None)


def enter(flight: Flight | None) -> None:
    """Let what the calling context does be a part of the load."""
    _inside.set(flight)


def inside() -> Flight | None:
    """The load that the calling code is part of, or None."""
    flight = _inside.get()
    return None if flight is None or flight.over else flight


def run_within(flight: Flight | None, function: Callable[[Ask], Any], ask: Ask) -> Any:
    """In a context of its own: what `function` returns as a part of the load."""
    enter(flight)
    # What fails holds the frames it went through, and is held by the flight.
    del flight
    return function(ask)


def rouse_locked(waiter: Waiter) -> bool:
    """Let `waiter` look again. False when its loop is closed."""
    parker, waiter.parker = waiter.parker, None
    return parker is None or parker.unpark()


def hold(within: Flight | None, token: object, flight: Flight) -> None:
    """
    Note that code of the load `within` waits for `flight`.

    Raises:
        ReentrantLoad: `flight` waits for `within`, so that neither would ever end.
    """
    if within is None:
        return
    # Noted first and looked second: of two that close a ring at once, one at least sees it.
    within.edges[token] = flight
    reached, ahead = {flight}, [flight]
    while ahead:
        one = ahead.pop()
        if one is within:
            raise ReentrantLoad(_REENTRANT)
        fresh = set(one.edges.copy().values()) - reached
        reached |= fresh
        ahead += fresh


def is_async(loader: Callable[[], Any]) -> bool:
    import inspect

    called = (
        loader if inspect.isroutine(loader) or isinstance(loader, partial) else _call_of(loader)
    )
    return inspect.iscoroutinefunction(called)


def _call_of(loader: Any) -> Any:
    return type(loader).__call__


def refuse(result: Any) -> None:
    """
    Complain about a loader for tasks that a thread was given.

    Raises:
        WrongKindOfCaller: `result` has to be awaited.
    """
    import inspect

    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise WrongKindOfCaller(_NEEDS_A_LOOP)


_REENTRANT = (
    "Loading this value needs the value itself: its loader asked the cache for it, directly or "
    "through other values that are being loaded."
)
_NEEDS_A_LOOP = (
    "An `async def` loader needs an event loop: use `await cache.aget_or_load(...)` in a task."
)
