"""Lend connections to threads and tasks, first come first served."""

from lmi_runtime.pools.model import Budget, Connector, Permit, PoolStatistics

__all__ = ["Budget", "Connector", "Permit", "PoolStatistics"]
