"""Thread-safe Python runtime for AWS Lambda Managed Instances."""

from lmi_runtime.context import (
    ContextThreadPoolExecutor,
    LambdaContext,
    Request,
    RequestScope,
    current,
    scoped,
    spawn_thread,
)
from lmi_runtime.errors import DeadlineExceeded, LmiError, NoActiveRequest
from lmi_runtime.handlers import HttpHead, handler, on_shutdown

__version__ = "0.1.0"

__all__ = [
    "ContextThreadPoolExecutor",
    "DeadlineExceeded",
    "HttpHead",
    "LambdaContext",
    "LmiError",
    "NoActiveRequest",
    "Request",
    "RequestScope",
    "current",
    "handler",
    "on_shutdown",
    "scoped",
    "spawn_thread",
]
