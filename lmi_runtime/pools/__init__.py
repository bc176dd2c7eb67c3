"""
Lend connections, and open what a worker needs once: for threads and tasks, across forks.

Adapters for drivers are modules of `lmi_runtime.pools.adapters`.
"""

from lmi_runtime.pools.budget import ConnectionBudget, connection_share
from lmi_runtime.pools.lease import Lease
from lmi_runtime.pools.model import Budget, Connector, Permit, PoolStatistics
from lmi_runtime.pools.pool import Pool
from lmi_runtime.pools.resources import AsyncResource, Resource, resource

__all__ = [
    "AsyncResource",
    "Budget",
    "ConnectionBudget",
    "Connector",
    "Lease",
    "Permit",
    "Pool",
    "PoolStatistics",
    "Resource",
    "connection_share",
    "resource",
]
