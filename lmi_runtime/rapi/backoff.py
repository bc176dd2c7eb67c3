"""When to try again, shared by everything that talks to one Runtime API. Pure: no sleeping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Backoff", "Pause"]


@dataclass(frozen=True, slots=True)
class Pause:
    """
    What to do about one fault.

    Attributes:
        delay_s: Seconds to wait before the next try.
        first: This fault starts a burst: worth a log line, the ones after it are not.
        hopeless: There has been no contact for so long that trying on makes no sense.
    """

    delay_s: float
    first: bool
    hopeless: bool


class Backoff:
    """
    Exponential backoff with jitter, from 0.1 s to 5 s.

    It is shared because the faults are: when the Runtime API is in trouble every poll fails at
    once. They count as one step, not as one step each, and wait for about the same moment.

    Thread safety: loop thread only.

    Args:
        clock: Monotonic seconds.
        random: Uniform in [0, 1).
        first_s: Seconds of the first delay.
        cap_s: Seconds of the longest delay, jitter left out.
        hopeless_after_s: Seconds from the first fault of a burst.
        held_after_s: Seconds beyond the moment of a retry after which a fault is no longer its
            result: the Runtime API held the poll meanwhile, which is contact. More than the
            jitter and a connection attempt take.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
        first_s: float = 0.1,
        cap_s: float = 5.0,
        hopeless_after_s: float = 60.0,
        held_after_s: float = 5.0,
    ) -> None:
        self._clock = clock
        self._random = random
        self._first_s = first_s
        self._cap_s = cap_s
        self._hopeless_after_s = hopeless_after_s
        self._held_after_s = held_after_s
        # All three: loop thread only.
        self._next_delay_s = first_s
        self._retry_at_s = 0.0
        # From the first fault, not from the last contact: before it a poll may have waited for
        # an hour, which is no trouble at all.
        self._down_since_s: float | None = None

    def contact(self) -> bool:
        """Note that the Runtime API answered as it should; True when that ends a burst."""
        if self._down_since_s is None:
            return False
        self._down_since_s = None
        self._next_delay_s = self._first_s
        self._retry_at_s = 0.0
        return True

    def fault(self) -> Pause:
        """Note a fault and decide what follows."""
        now_s = self._clock()
        if now_s > self._retry_at_s + self._held_after_s:
            # Without it two hiccups in a quiet hour, no event in between, would look like an
            # hour without contact.
            self.contact()
        first = self._down_since_s is None
        if self._down_since_s is None:
            self._down_since_s = now_s
        if now_s >= self._retry_at_s:
            self._retry_at_s = now_s + self._next_delay_s
            self._next_delay_s = min(self._next_delay_s * 2, self._cap_s)
        # Jitter only adds: a poll that came back before the moment would be one more fault of
        # the same step, and wait for what is left of it, again and again.
        return Pause(
            delay_s=(self._retry_at_s - now_s) * (1 + 0.25 * self._random()),
            first=first,
            hopeless=now_s - self._down_since_s >= self._hopeless_after_s,
        )
