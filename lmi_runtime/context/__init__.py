"""
Which request is this code serving: the current request, and variables scoped to it.

Everything here rests on `contextvars`. A task, or a thread started through `spawn_thread`,
`ContextThreadPoolExecutor`, `asyncio.to_thread` or `anyio.to_thread`, runs in a copy of its
starter's context and therefore serves the same request. Every other thread serves none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmi_runtime._lazy import lazily
from lmi_runtime.context.active import carried, current, deadline_s, enter, peek, serving
from lmi_runtime.context.lambda_context import (
    Client,
    ClientContext,
    CognitoIdentity,
    FunctionEnvironment,
    LambdaContext,
)
from lmi_runtime.context.process import (
    WorkerFacts,
    set_worker,
    set_worker_loop,
    worker,
    worker_loop,
)
from lmi_runtime.context.request import Request
from lmi_runtime.context.scope import RequestScope, scoped
from lmi_runtime.context.threads import spawn_thread

if TYPE_CHECKING:
    from lmi_runtime.context.executors import ContextThreadPoolExecutor

__all__ = [
    "Client",
    "ClientContext",
    "CognitoIdentity",
    "ContextThreadPoolExecutor",
    "FunctionEnvironment",
    "LambdaContext",
    "Request",
    "RequestScope",
    "WorkerFacts",
    "carried",
    "current",
    "deadline_s",
    "enter",
    "peek",
    "scoped",
    "serving",
    "set_worker",
    "set_worker_loop",
    "spawn_thread",
    "worker",
    "worker_loop",
]


__getattr__ = lazily(globals(), {"ContextThreadPoolExecutor": "executors"})
