"""The parser's cache of models, of which one is dropped while another is looked up."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.integrations.patching import Swaps
from lmi_runtime.integrations.powertools.rerouting import reroute, rerouted

__all__ = ["lock_cache"]


def lock_cache(module: ModuleType, swaps: Swaps) -> None:
    """Change ``utilities.parser.functions``."""
    retrieve = swaps.function(module, "_retrieve_or_set_model_from_cache", "model")
    swaps.attribute(module, "CACHE_TYPE_ADAPTER")
    swaps.attribute(module, "TypeAdapter")
    reroute(swaps, retrieve, _like_retrieve, _Adapters(module).get)


def _like_retrieve(model: Any) -> Any:
    return rerouted(model)


class _Adapters:
    """
    The adapters in the cache of powertools.

    Thread safety: from any thread.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self._lock = _sync.ProcessWide(lambda: _sync.Lock(), anew_in_child=True)  # guards the cache

    def get(self, retrieve: Callable[..., Any], model: Any) -> Any:
        """The adapter for a model, which keeps the model and thereby its id."""
        cache = self._module.CACHE_TYPE_ADAPTER
        with self._lock():
            if id(model) in cache:
                return cache[id(model)]
        # Without the lock: to make one can take long, and run code of the model.
        kind = self._module.TypeAdapter
        made = model if isinstance(model, kind) else kind(model)
        with self._lock():
            if id(model) not in cache:
                cache[id(model)] = made
            return cache[id(model)]
