"""boto3 for functions that serve many requests in one process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmi_runtime._lazy import lazily

if TYPE_CHECKING:
    from lmi_runtime.integrations.boto.clients import client

__all__ = ["client"]

__getattr__ = lazily(globals(), {"client": "clients"})
