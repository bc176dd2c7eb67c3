"""AWS clients, made for many invocations in one process. Needs botocore."""

from lmi_runtime.integrations.boto_client import client

__all__ = ["client"]
