"""Thread-safe Python runtime for AWS Lambda Managed Instances."""

from lmi_runtime.caches import Cache, CacheStatistics, Loaded, cached
from lmi_runtime.context import (
    ContextThreadPoolExecutor,
    LambdaContext,
    Request,
    RequestScope,
    current,
    scoped,
    spawn_thread,
)
from lmi_runtime.errors import (
    DeadlineExceeded,
    LmiError,
    LoadTimeout,
    NoActiveRequest,
    PoolClosed,
    PoolError,
    PoolOverloaded,
    PoolTimeout,
    ReentrantLoad,
    WrongKindOfCaller,
)
from lmi_runtime.handlers import HttpHead, handler, on_shutdown
from lmi_runtime.pools import (
    ConnectionBudget,
    Connector,
    Lease,
    Pool,
    PoolStatistics,
    connection_share,
    resource,
)

__version__ = "0.1.0"

__all__ = [
    "Cache",
    "CacheStatistics",
    "ConnectionBudget",
    "Connector",
    "ContextThreadPoolExecutor",
    "DeadlineExceeded",
    "HttpHead",
    "LambdaContext",
    "Lease",
    "LmiError",
    "LoadTimeout",
    "Loaded",
    "NoActiveRequest",
    "Pool",
    "PoolClosed",
    "PoolError",
    "PoolOverloaded",
    "PoolStatistics",
    "PoolTimeout",
    "ReentrantLoad",
    "Request",
    "RequestScope",
    "WrongKindOfCaller",
    "cached",
    "connection_share",
    "current",
    "handler",
    "on_shutdown",
    "resource",
    "scoped",
    "spawn_thread",
]
