"""`HttpResolverLocal`, which keeps apart what comes in over ASGI, and nothing else."""

from __future__ import annotations

import copy
from types import ModuleType
from typing import Any

from lmi_runtime.integrations.patching import Swaps
from lmi_runtime.integrations.powertools.resolution import AppAttribute, resolution_of

__all__ = ["isolate_http_resolver"]


def isolate_http_resolver(module: ModuleType, swaps: Swaps) -> None:
    """Change ``event_handler.http_resolver``."""
    resolver = module.HttpResolverLocal
    swaps.attribute(resolver, "_state")
    for name in ("current_event", "context", "processed_stack_frames"):
        swaps.attribute(resolver, name)

    def fresh(startup: Any) -> Any:
        return module._RequestState(context=copy.copy(startup.context))

    outside = AppAttribute("_state", fresh, default=module._RequestState, stored="_startup_state")

    def state(self: Any) -> Any:
        over_asgi = self._request_state.get()
        if over_asgi is not None:
            return over_asgi
        resolution = resolution_of(self)
        if resolution is None:
            return outside.__get__(self)
        if "_state" not in resolution.values:
            values = resolution.values
            made = module._RequestState(
                context=values["context"], processed_stack_frames=values["processed_stack_frames"]
            )
            values.setdefault("_state", made)
        return resolution.values["_state"]

    swaps.put(resolver, "_state", property(state))
