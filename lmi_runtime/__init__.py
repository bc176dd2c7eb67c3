"""Thread-safe Python runtime for AWS Lambda Managed Instances."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmi_runtime._lazy import lazily
from lmi_runtime.context import (
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

if TYPE_CHECKING:
    from lmi_runtime.caches import Cache, CacheStatistics, Loaded, SharedCache, cached
    from lmi_runtime.caches.locked import locked_file
    from lmi_runtime.caches.scratch import request_tmpdir
    from lmi_runtime.context import ContextThreadPoolExecutor
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
    "SharedCache",
    "WrongKindOfCaller",
    "cached",
    "connection_share",
    "current",
    "handler",
    "locked_file",
    "on_shutdown",
    "request_tmpdir",
    "resource",
    "scoped",
    "spawn_thread",
]

_ROOMS = {
    "Cache": "caches",
    "CacheStatistics": "caches",
    "ConnectionBudget": "pools",
    "Connector": "pools",
    "ContextThreadPoolExecutor": "context",
    "HttpHead": "handlers",
    "Lease": "pools",
    "Loaded": "caches",
    "Pool": "pools",
    "PoolStatistics": "pools",
    "SharedCache": "caches",
    "cached": "caches",
    "connection_share": "pools",
    "handler": "handlers",
    "locked_file": "caches.locked",
    "on_shutdown": "handlers",
    "request_tmpdir": "caches.scratch",
    "resource": "pools",
}


__getattr__ = lazily(globals(), _ROOMS)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
