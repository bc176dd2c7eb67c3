"""
Campaigns of the race checker over our own code.

`SCENARIOS` names them; ``python -m stress.scenarios`` runs them.
"""

from __future__ import annotations

from stress.scenarios import (
    caches,
    clients,
    contexts,
    dispatching,
    isolation,
    leases,
    lifecycle,
    logs,
    pools,
    powertools,
    powertools_calls,
    tracing,
)
from stress.scenarios.campaign import explored
from stress.scenarios.scenario import Budget, Make, Scenario

__all__ = ["SCENARIOS", "Budget", "Scenario", "explored"]

SCENARIOS: dict[str, Make] = {
    name: getattr(module, name)
    for module in (
        caches,
        clients,
        contexts,
        dispatching,
        isolation,
        leases,
        lifecycle,
        logs,
        pools,
        powertools,
        powertools_calls,
        tracing,
    )
    for name in module.__all__
}
"""What there is, by name. The docstring of each says what must hold."""
