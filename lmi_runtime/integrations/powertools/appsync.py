"""
The event handler for AppSync's GraphQL resolvers.

Powertools sets the event on the class of all routers and on the app, and keeps one context for
each app. Here each call of ``resolve`` has its own; what is to be awaited takes it along.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

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
    """Change ``event_handler.appsync``."""
    app, router = module.AppSyncResolver, module.Router
    resolve = swaps.function(app, "resolve", "self, event, context, data_model")
    include = swaps.function(app, "include_router", "self, router")
    swaps.function(app, "_call_batch_resolver", "self, event, data_model")
    swaps.attribute(module, "asyncio")
    isolate_context(router, swaps)
    facts = {
        "current_event": AppFact("current_event", None),
        "current_batch_event": AppFact("current_batch_event", []),
        "lambda_context": AppFact("lambda_context", None),
    }
    swaps.fields(app, "context", *facts)
    for name, fact in facts.items():
        swaps.put(router, name, fact)
    swaps.put(app, "resolve", resolving_apart(resolve, _handled))
    swaps.put(app, "include_router", including_apart(include))
    swaps.put(module, "asyncio", LoopAware())
    swaps.put(router, "__class__", setting_facts(type(router), dict(facts)))


def _handled(app: Any, error: Exception) -> Any:
    """As `resolve` does it with errors that are raised before it returns."""
    handler = app.exception_handler_manager.lookup_exception_handler(type(error))
    if handler is None:
        raise error
    return handler(error)
