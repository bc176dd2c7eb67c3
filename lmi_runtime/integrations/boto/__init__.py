"""
boto3 for functions that serve many requests in one process.

`client` gives a worker its one client of a service, `aclient` does so without blocking the event
loop; `call` calls a client from a task; `bounded` has clients that were made elsewhere end with
the request's deadline. `lmi_runtime.integrations.boto.aio` is for aiobotocore.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmi_runtime._lazy import lazily

if TYPE_CHECKING:
    from lmi_runtime.integrations.boto.calls import call
    from lmi_runtime.integrations.boto.clients import aclient, client
    from lmi_runtime.integrations.boto.deadlines import bounded

__all__ = ["aclient", "bounded", "call", "client"]

__getattr__ = lazily(
    globals(),
    {"aclient": "clients", "bounded": "deadlines", "call": "calls", "client": "clients"},
)
