"""
The event handler for AppSync Events.

Powertools sets the event on the class of all routers and on the app, and keeps one context for
each app. Here each call of ``resolve`` has its own; what is to be awaited takes it along.
"""

from __future__ import annotations

from types import ModuleType

from lmi_runtime.integrations.patching import Swaps
from lmi_runtime.integrations.powertools.awaiting import (
    AppFact,
    LoopAware,
    including_apart,
    isolate_context,
    resolving_apart,
)
from lmi_runtime.integrations.powertools.routing import setting_facts

__all__ = ["isolate_resolvers"]


def isolate_resolvers(module: ModuleType, swaps: Swaps) -> None:
    """Change ``event_handler.events_appsync.appsync_events``."""
    app, router = module.AppSyncEventsResolver, module.Router
    resolve = swaps.function(app, "resolve", "self, event, context")
    include = swaps.function(app, "include_router", "self, router")
    swaps.function(app, "_setup_context", "self, event, context")
    swaps.attribute(module, "asyncio")
    isolate_context(router, swaps)
    facts = {name: AppFact(name) for name in ("current_event", "lambda_context")}
    swaps.fields(app, "context", *facts)
    for name, fact in facts.items():
        swaps.put(router, name, fact)
    swaps.put(app, "resolve", resolving_apart(resolve))
    swaps.put(app, "include_router", including_apart(include))
    swaps.put(module, "asyncio", LoopAware())
    swaps.put(router, "__class__", setting_facts(type(router), dict(facts)))
