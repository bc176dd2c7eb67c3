"""
The event handler for AppSync's GraphQL resolvers.

Powertools sets the event on the class of all routers and on the app, and keeps one context for
each app. Here each call of ``resolve`` has its own; what is to be awaited takes it along.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from lmi_runtime.integrations.patching import Swaps
from lmi_runtime.integrations.powertools.awaiting import AppFact, isolate_app, resolving_apart

__all__ = ["isolate_resolvers"]


def isolate_resolvers(module: ModuleType, swaps: Swaps) -> None:
    """Change ``event_handler.appsync``."""
    app = module.AppSyncResolver
    resolve = swaps.function(app, "resolve", "self, event, context, data_model")
    swaps.function(app, "_call_batch_resolver", "self, event, data_model")
    facts = {
        "current_event": AppFact("current_event", None),
        "current_batch_event": AppFact("current_batch_event", []),
        "lambda_context": AppFact("lambda_context", None),
    }
    isolate_app(module, swaps, app, facts, resolving_apart(resolve, _handled))


def _handled(app: Any, error: Exception) -> Any:
    """As `resolve` does it with errors that are raised before it returns."""
    handler = app.exception_handler_manager.lookup_exception_handler(type(error))
    if handler is None:
        raise error
    return handler(error)
