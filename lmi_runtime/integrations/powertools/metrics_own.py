"""Providers that users have written: what they keep by themselves cannot be told apart."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping, MutableSequence, MutableSet
from typing import Any

from lmi_runtime.integrations.powertools.metrics_state import Gathered

__all__ = ["tell_of_own_state"]

logger = logging.getLogger("lmi_runtime.integrations")

_THEIRS = "aws_lambda_powertools."
_CONTAINERS = (MutableMapping, MutableSequence, MutableSet)
_CONSTANT = frozenset({"_metric_units", "_metric_unit_valid_options", "_metric_resolutions"})

_told: dict[str, object] = {}
"""Classes that have been named; changed by dict.setdefault only."""


def tell_of_own_state(provider: Any) -> None:
    """
    Name a class of provider, once, that keeps containers in attributes of its own.

    Thread safety: from any thread.
    """
    own = sorted({*_of_instance(provider), *_of_classes(type(provider))})
    if not own:
        return
    kind, mine = f"{type(provider).__module__}.{type(provider).__qualname__}", object()
    if _told.setdefault(kind, mine) is mine:
        logger.warning(
            "powertools: the metrics provider %s keeps %s by itself, and requests that are served "
            "at once share that: keep what is a request's in metric_set, dimension_set and "
            "metadata_set of a class derived from BaseProvider, or make one for each request.",
            kind,
            ", ".join(own),
        )


def _of_instance(provider: Any) -> set[str]:
    values = getattr(provider, "__dict__", {})
    return {
        name
        for name, value in values.items()
        if isinstance(value, _CONTAINERS)
        and name not in _CONSTANT
        and not _is_isolated(type(provider), name)
    }


def _of_classes(kind: type) -> set[str]:
    return {
        name
        for base in kind.__mro__
        if not base.__module__.startswith(_THEIRS)
        for name, value in vars(base).items()
        if isinstance(value, _CONTAINERS) and not name.startswith("__")
    }


def _is_isolated(kind: type, name: str) -> bool:
    for base in kind.__mro__:
        if name in vars(base):
            return isinstance(vars(base)[name], Gathered)
    return False
