"""Lend connections to threads and tasks, first come first served."""

from lmi_runtime.pools.lease import Lease
from lmi_runtime.pools.model import Budget, Connector, Permit, PoolStatistics
from lmi_runtime.pools.pool import Pool

__all__ = ["Budget", "Connector", "Lease", "Permit", "Pool", "PoolStatistics"]
