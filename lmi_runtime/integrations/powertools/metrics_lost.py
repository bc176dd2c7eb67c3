"""Metrics that wait for being published, and what is said of those that never will be."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

from lmi_runtime.context import Request
from lmi_runtime.integrations.scopes import holder

__all__ = ["handed_over", "tell_of_lost"]

logger = logging.getLogger("lmi_runtime.integrations")


def handed_over(base: Any) -> Any:
    """
    A request's metrics. The first request also publishes those that an import has added.

    Args:
        base: The process's, which is left empty.

    Thread safety: from any thread. Of requests that come at once, one gets each metric.
    """
    taken: list[Any] = []
    while base and isinstance(holder(), Request):
        try:
            taken.append(base.popitem() if isinstance(base, dict) else base.pop())
        except (KeyError, IndexError):
            break
    taken.reverse()
    if type(base) is dict:
        return _Values(taken)
    return _Series(taken) if type(base) is list else type(base)(taken)


class _Values(dict[str, Any]):
    def __del__(self) -> None:
        # Anywhere, at any time: what is to be said is said by the next who begins to add.
        if self:
            _lost.append(self)


class _Series(list[Any]):
    def __del__(self) -> None:
        if self:
            _lost.append(self)


_lost: deque[Any] = deque(maxlen=1)
_told: dict[str, object] = {}
"""Whether it has been said; changed by dict.setdefault only."""


def tell_of_lost() -> None:
    """
    Say, once, that metrics are gone which nobody has published.

    Thread safety: from any thread.
    """
    if not _lost or _told:
        return
    try:
        lost = _lost.pop()
    except IndexError:
        return
    mine = object()
    if not _are_disabled() and _told.setdefault("lost", mine) is mine:
        logger.warning(
            "powertools: the metric %r was added but not published, and others may have been: "
            "after log_metrics had published those of its request, or where no request was "
            "served. Wait for background work before the handler returns, or call "
            "flush_metrics() in it. This is said once.",
            _name(next(iter(lost))),
        )


def _name(metric: Any) -> Any:
    """Keys are names; items of lists are what Datadog reads, or a user's provider made up."""
    return metric.get("m", metric) if isinstance(metric, dict) else metric


def _are_disabled() -> bool:
    from aws_lambda_powertools.metrics.functions import is_metrics_disabled

    return bool(is_metrics_disabled())
