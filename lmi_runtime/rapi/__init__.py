"""The Runtime API: a pure protocol (bytes to facts, facts to bytes) and a thin transport."""

from lmi_runtime.rapi.blocking import BlockingRuntimeApi
from lmi_runtime.rapi.client import HttpRuntimeApi

__all__ = ["BlockingRuntimeApi", "HttpRuntimeApi"]
