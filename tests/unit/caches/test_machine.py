"""Whatever is asked in whatever order, the answers are those of a few lines of dictionary."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lmi_runtime.caches import Cache, Loaded
from tests.unit.caches.tools import SetClock, until

TTL_S, STALE_S, ERROR_S, NEGATIVE_S = 10.0, 5.0, 8.0, 3.0


@dataclass(frozen=True)
class Known:
    """What the model knows of one key."""

    value: Any
    fresh_until: float
    tags: frozenset[str] = frozenset()
    failed: bool = False
    retry_at: float = 0.0

    def good_until(self) -> float:
        """Until when it may be given at all."""
        return self.fresh_until + (0 if self.failed else max(STALE_S, ERROR_S))


class Asked(Exception):
    """What loaders of the machine raise."""


class Answers(RuleBasedStateMachine):
    """One caller after the other; what happens at once is tested elsewhere."""

    keys = st.sampled_from("abc")
    tag_sets = st.frozensets(st.sampled_from("xy"))

    @initialize(negative=st.booleans())
    def begin(self, negative: bool) -> None:
        self.clock = SetClock()
        self.negative = negative
        self.cache: Cache[Any] = Cache(
            ttl_s=TTL_S,
            stale_s=STALE_S,
            stale_if_error_s=ERROR_S,
            negative_ttl_s=NEGATIVE_S if negative else 0.0,
            clock=self.clock.clock,
        )
        self.known: dict[str, Known] = {}
        self.number = 0
        self.asked = self.answered = 0

    @property
    def now(self) -> float:
        return self.clock.now

    def at(self, key: str) -> Known | None:
        """What is good for anything now."""
        known = self.known.get(key)
        return None if known is None or self.now >= known.good_until() else known

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.5, 4.0, 9.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.pass_(seconds)

    @rule()
    def machine_sleeps(self) -> None:
        self.clock.pass_(1.0)
        self.cache.get("nothing")  # the clocks are compared
        self.asked += 1
        self.clock.sleep_of_the_machine(60)
        self.clock.pass_(1.0)
        self.known.clear()

    @rule(key=keys, ttl=st.sampled_from([None, 0.0, 3.0]), tags=tag_sets)
    def set(self, key: str, ttl: float | None, tags: frozenset[str]) -> None:
        self.number += 1
        self.cache.set(key, self.number, ttl_s=ttl, tags=tags)
        self.keep(key, self.number, ttl, tags)

    def keep(self, key: str, value: Any, ttl: float | None, tags: frozenset[str]) -> None:
        self.known[key] = Known(value, self.now + (TTL_S if ttl is None else ttl), tags)

    @rule(key=keys)
    def get(self, key: str) -> None:
        known = self.at(key)
        fresh = known is not None and not known.failed and self.now < known.fresh_until
        self.asked += 1
        assert self.cache.get(key) == (known.value if known and fresh else None)
        assert (key in self.cache) == fresh

    @rule(key=keys)
    def delete(self, key: str) -> None:
        self.cache.delete(key)
        self.known.pop(key, None)

    @rule(tag=st.sampled_from("xy"))
    def invalidate(self, tag: str) -> None:
        self.cache.invalidate(tag=tag)
        self.known = {key: known for key, known in self.known.items() if tag not in known.tags}

    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.known.clear()

    @rule(key=keys, fails=st.booleans(), ttl=st.sampled_from([None, 3.0]), tags=tag_sets)
    def load(self, key: str, fails: bool, ttl: float | None, tags: frozenset[str]) -> None:
        self.number += 1
        number, called = self.number, []

        def loader() -> Any:
            called.append(number)
            if fails:
                raise Asked(number)
            return Loaded(value=number, ttl_s=ttl, tags=tags)

        self.asked += 1
        try:
            found: Any = ("value", self.cache.get_or_load(key, loader))
        except Asked as error:
            found = ("error", error.args[0])
        until(lambda: self.cache.statistics().loading == 0)
        expected, loads = self.expected(key, number, fails, ttl, tags)
        assert found == expected
        assert bool(called) == loads

    def expected(
        self, key: str, number: int, fails: bool, ttl: float | None, tags: frozenset[str]
    ) -> tuple[Any, bool]:
        known = self.at(key)
        given_at_once = known is not None and (
            known.failed
            or self.now < known.fresh_until + STALE_S
            or (self.now < known.fresh_until + ERROR_S and self.now < known.retry_at)
        )
        loads = not given_at_once or (
            known is not None
            and not known.failed
            and self.now >= known.fresh_until
            and self.now >= known.retry_at
        )
        if loads:
            self.loaded(key, number, fails, ttl, tags)
        if known is not None and given_at_once:
            return ("error" if known.failed else "value", known.value), loads
        if not fails:
            return ("value", number), loads
        return (("error", number) if known is None else ("value", known.value)), loads

    def loaded(
        self, key: str, number: int, fails: bool, ttl: float | None, tags: frozenset[str]
    ) -> None:
        known = self.at(key)
        if not fails:
            self.keep(key, number, ttl, tags)
        elif known is not None and not known.failed:
            again_s = NEGATIVE_S if self.negative else min(1.0, max(STALE_S, ERROR_S) / 8)
            self.known[key] = replace(known, retry_at=self.now + again_s)
        elif self.negative:
            self.known[key] = Known(number, self.now + NEGATIVE_S, failed=True)
        else:
            self.known.pop(key, None)

    @invariant()
    def all_that_was_asked_is_counted_once(self) -> None:
        if not hasattr(self, "cache"):
            return
        found = self.cache.statistics()
        given = found.hits + found.hits_stale + found.hits_on_error + found.hits_negative
        # A value that is given because a load failed was missed first.
        assert self.asked <= given + found.misses <= self.asked + found.hits_on_error
        assert found.joined == found.loading == found.load_timeouts == 0
        assert found.load_failures <= found.loads <= found.misses + found.refreshes


TestAnswers = Answers.TestCase
TestAnswers.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
