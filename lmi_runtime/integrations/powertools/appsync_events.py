"""
The event handler for AppSync Events.

Powertools sets the event on the class of all routers and on the app, and keeps one context for
each app. Here each call of ``resolve`` has its own; what is to be awaited takes it along.
"""

from __future__ import annotations

from types import ModuleType

from lmi_runtime.integrations.patching import Swaps
from lmi_runtime.integrations.powertools.awaiting import AppFact, isolate_app, resolving_apart

__all__ = ["isolate_resolvers"]


def isolate_resolvers(module: ModuleType, swaps: Swaps) -> None:
    """Change ``event_handler.events_appsync.appsync_events``."""
    app = module.AppSyncEventsResolver
    resolve = swaps.function(app, "resolve", "self, event, context")
    swaps.function(app, "_setup_context", "self, event, context")
    facts = {name: AppFact(name) for name in ("current_event", "lambda_context")}
    isolate_app(module, swaps, app, facts, resolving_apart(resolve))
