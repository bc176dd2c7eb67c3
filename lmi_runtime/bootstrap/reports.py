"""Tell people and the platform, once, that this environment cannot start."""

from __future__ import annotations

import json
import os

from lmi_runtime.errors import ConfigurationError
from lmi_runtime.handlers import init_failure_of
from lmi_runtime.model import Failure
from lmi_runtime.rapi import BlockingRuntimeApi

__all__ = ["report_init_error"]


def report_init_error(address: str, error: BaseException | Failure) -> int:
    """
    Log `error`, post it to the Runtime API at `address`, and return the exit code.

    The process has to end next: the platform takes an init error seriously only then.
    """
    failure = error if isinstance(error, Failure) else init_failure_of(error)
    line = {
        "level": "ERROR",
        "message": "The function could not be started",
        "logger": "lmi_runtime.bootstrap",
        "errorType": failure.error_type,
        "errorMessage": failure.message,
        "stackTrace": list(failure.stack),
    }
    # Not through logging: what cannot be started may be the logging itself.
    os.write(2, json.dumps(line).encode() + b"\n")
    try:
        api = BlockingRuntimeApi(address)
    except ConfigurationError:
        return 1  # the address is what is wrong
    api.post_init_error(failure)
    return 1
