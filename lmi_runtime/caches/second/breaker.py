"""When to leave a second level alone that does not answer. Pure: the time is told to it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Breaker", "after_failure", "after_success", "may_ask"]

_TOLERATED = 3
_FIRST_REST_S = 1.0
_LONGEST_REST_S = 30.0


class Breaker(NamedTuple):
    """
    How it went lately.

    Attributes:
        failures: Failures in a row.
        rest_until_s: It is not asked before then.
        rest_s: How long the rest is, or the last one was; 0.0 while all is well.
    """

    failures: int = 0
    rest_until_s: float = 0.0
    rest_s: float = 0.0


def may_ask(breaker: Breaker, now_s: float) -> Breaker | None:
    """
    What to go on with if it may be asked now, else None.

    After a rest only one may ask: the rest is prolonged for all others until that one knows.
    """
    if now_s < breaker.rest_until_s:
        return None
    return breaker._replace(rest_until_s=now_s + breaker.rest_s) if breaker.rest_s else breaker


def after_success(breaker: Breaker) -> Breaker:
    """All is well."""
    return _WELL


def after_failure(breaker: Breaker, now_s: float) -> Breaker:
    """From the third failure in a row on it rests, each time twice as long."""
    failures = breaker.failures + 1
    if failures < _TOLERATED:
        return breaker._replace(failures=failures)
    rest_s = min(_LONGEST_REST_S, breaker.rest_s * 2 or _FIRST_REST_S)
    return Breaker(failures, now_s + rest_s, rest_s)


_WELL = Breaker()
