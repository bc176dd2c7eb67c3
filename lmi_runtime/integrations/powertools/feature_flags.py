"""Feature flags: a document that all requests read, and answers that are each request's own."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

from lmi_runtime.integrations.patching import Swaps, Unexpected
from lmi_runtime.integrations.powertools.parameter_values import own, shared_values

__all__ = ["copy_answers", "share_documents"]


def share_documents(module: ModuleType, swaps: Swaps) -> None:
    """
    One document for all evaluations, which only read it.

    Powertools knows by its identity that it has been validated. A copy for each would cost more
    than the evaluation does.
    """
    store = swaps.attribute(module, "AppConfigStore")
    raw = swaps.attribute(store, "get_raw_configuration")
    if not isinstance(raw, property) or raw.fget is None:
        raise Unexpected("AppConfigStore.get_raw_configuration is no property")
    get = raw.fget

    @functools.wraps(get)
    def shared(self: Any) -> Any:
        with shared_values():
            return get(self)

    swaps.put(store, "get_raw_configuration", property(shared))


def copy_answers(module: ModuleType, swaps: Swaps) -> None:
    """An answer that is a list or an object is not the one in the document."""
    flags = swaps.attribute(module, "FeatureFlags")
    evaluate = swaps.function(flags, "evaluate", "self, name, context, default")

    @functools.wraps(evaluate)
    def evaluated(self: Any, **kwargs: Any) -> Any:
        return own(evaluate(self, **kwargs))

    swaps.put(flags, "evaluate", evaluated)
