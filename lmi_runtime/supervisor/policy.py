"""
When a dead worker is replaced, and when the whole environment is given up. Pure; no clock, no I/O.

The words used here and in the log:

- A life is *stable* when the worker stayed ready for `stable_after_s`. The first death after a
  stable life is replaced at once, the ones after it with exponential backoff.
- A life is *fruitless* when the worker neither answered a single invocation nor was stable.
- The environment is *given up* when, with no exception, every slot's last `give_up_after` lives
  were fruitless and its present one is not yet better. One slot that works keeps it alive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["EXIT_REPLACE", "EXIT_STOPPED", "EXIT_UNREACHABLE", "RestartRules", "SlotHistory"]

EXIT_STOPPED = 0
"""The supervisor's exit code after an orderly shutdown."""

EXIT_REPLACE = 1
"""The supervisor's exit code when the platform should replace the environment."""

EXIT_UNREACHABLE = 75
"""A worker's exit code for "the Runtime API is gone": the supervisor ends the environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartRules:
    """
    The numbers behind every decision of the supervisor.

    Attributes:
        backoff_first_s: Delay before the second replacement in a row.
        backoff_max_s: No delay is longer.
        jitter: Share of each delay that is left to chance, 0 to 1, so that workers which died
            together do not come back together.
        stable_after_s: Seconds a worker has to stay ready for its slot to be trusted again.
        give_up_after: Fruitless lives in a row that make a slot hopeless.
        ready_timeout_s: Seconds that the workers which are ready wait for their siblings before
            they start to poll, counted from the first one that was ready.
        shutdown_budget_s: Seconds from the signal to stop until what still runs is killed.
        reap_grace_s: Seconds to wait for killed workers to be gone before leaving without them.
    """

    backoff_first_s: float = 0.1
    backoff_max_s: float = 5.0
    jitter: float = 0.5
    stable_after_s: float = 10.0
    give_up_after: int = 3
    ready_timeout_s: float = 2.0
    shutdown_budget_s: float = 0.45
    reap_grace_s: float = 0.1

    def backoff_s(self, deaths: int, random: Callable[[], float]) -> float:
        """
        Seconds to wait before replacing a worker.

        Args:
            deaths: Deaths in a row, this one included, since the slot was last stable.
            random: Returns a number from 0 up to 1.
        """
        if deaths <= 1:
            return 0.0
        # The exponent is capped first: a slot may die for weeks, and floats end at 2**1023.
        full = min(self.backoff_max_s, self.backoff_first_s * 2.0 ** min(deaths - 2, 30))
        return full * (1.0 - self.jitter * random())


@dataclass(slots=True)
class SlotHistory:
    """
    What one slot's workers have shown so far.

    Thread safety: the supervisor's only thread.

    Attributes:
        deaths: Deaths in a row since the slot was last stable.
        fruitless: Fruitless lives in a row.
        ready_s: When the living worker became ready, or None.
    """

    deaths: int = 0
    fruitless: int = 0
    ready_s: float | None = None

    def stable(self, rules: RestartRules, now_s: float) -> bool:
        """True when the present life has been ready for long enough to be trusted."""
        return self.ready_s is not None and now_s - self.ready_s >= rules.stable_after_s

    def hopeless(self, rules: RestartRules, now_s: float, *, answered: bool) -> bool:
        """True when the slot has failed too often and its present life is not yet better."""
        useful = answered or self.stable(rules, now_s)
        return self.fruitless >= rules.give_up_after and not useful

    def note_death(self, rules: RestartRules, now_s: float, *, answered: bool) -> None:
        """End the present life; `answered` says whether it ever answered an invocation."""
        stable = self.stable(rules, now_s)
        self.deaths = 1 if stable else self.deaths + 1
        self.fruitless = 0 if answered or stable else self.fruitless + 1
        self.ready_s = None
