"""
The event handler for functions of Bedrock agents.

The one for Bedrock agents with an API is part of the event handler for REST.
"""

from __future__ import annotations

from types import ModuleType

from lmi_runtime.integrations.patching import Swaps
from lmi_runtime.integrations.powertools.awaiting import (
    AppFact,
    isolate_context,
    resolving_apart,
)

__all__ = ["isolate_functions"]


def isolate_functions(module: ModuleType, swaps: Swaps) -> None:
    """Change ``event_handler.bedrock_agent_function``."""
    app = module.BedrockAgentFunctionResolver
    resolve = swaps.function(app, "resolve", "self, event, context")
    swaps.fields(app, "context", "current_event")
    isolate_context(app, swaps)
    swaps.put(app, "current_event", AppFact("current_event", None))
    swaps.put(app, "resolve", resolving_apart(resolve))
