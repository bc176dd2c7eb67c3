"""What is computed from waits and leases. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["ideal_wait_s", "jain", "percentile"]


def jain(shares: Sequence[float]) -> float:
    """
    Jain's index of fairness: 1.0 when all have the same share, 1/n when one of n has it all.

    Nothing for everybody is fair.
    """
    squares = sum(share * share for share in shares)
    if not squares:
        return 1.0
    return sum(shares) ** 2 / (len(shares) * squares)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that *percent* of *values* do not exceed; 0.0 of nothing."""
    if not values:
        return 0.0
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(rank, 1) - 1]


def ideal_wait_s(callers: int, connections: int, hold_s: float) -> float:
    """
    How long everybody waits when callers come back at once and are served in order.

    Each connection goes round ``callers / connections`` callers; one of them holds it.
    """
    return max(0.0, (callers / connections - 1) * hold_s)
