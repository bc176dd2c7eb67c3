"""Latencies in bounded memory."""

from __future__ import annotations

import math

_SMALLEST_S = 1e-6
_LARGEST_S = 1e4
_GROWTH = 1.01
_SCALE = 1.0 / math.log(_GROWTH)
_BUCKETS = int(math.log(_LARGEST_S / _SMALLEST_S) * _SCALE) + 2


class LatencyHistogram:
    """
    Counts of durations in buckets that grow by one percent, so a quantile is right to 1 %.

    Thread safety: one thread at a time.
    """

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._total = 0
        self._sum_s = 0.0
        self._max_s = 0.0

    def record(self, duration_s: float) -> None:
        """Add one duration in seconds; outside 1 us to 10,000 s it counts as the nearest."""
        clamped = min(max(duration_s, _SMALLEST_S), _LARGEST_S)
        self._counts[int(math.log(clamped / _SMALLEST_S) * _SCALE)] += 1
        self._total += 1
        self._sum_s += duration_s
        self._max_s = max(self._max_s, duration_s)

    @property
    def count(self) -> int:
        """Durations recorded."""
        return self._total

    @property
    def max_s(self) -> float:
        """Longest duration in seconds, exact; 0 if there is none."""
        return self._max_s

    @property
    def mean_s(self) -> float:
        """Mean duration in seconds, exact; 0 if there is none."""
        return self._sum_s / self._total if self._total else 0.0

    def quantile_s(self, share: float) -> float:
        """
        Seconds that *share* of the durations do not exceed; 0 if there is none.

        Raises:
            ValueError: *share* is not within 0 and 1.
        """
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"a quantile is a share between 0 and 1, not {share}")
        rank = max(1, math.ceil(share * self._total))
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if seen >= rank:
                upper = _SMALLEST_S * _GROWTH ** (index + 1)
                return min(upper, self._max_s)
        return 0.0
