"""Tell people and the platform, once, that this environment cannot start."""

from __future__ import annotations

import logging
import os

from lmi_runtime.errors import ConfigurationError
from lmi_runtime.handlers import init_failure_of
from lmi_runtime.logs.formats import JsonFormat, TextFormat
from lmi_runtime.model import Failure, LogFormat
from lmi_runtime.rapi import BlockingRuntimeApi

__all__ = ["report_init_error"]


def report_init_error(
    address: str, error: BaseException | Failure, log_format: LogFormat = LogFormat.JSON
) -> int:
    """
    Log `error`, post it to the Runtime API at `address`, and return the exit code.

    The process has to end next: the platform takes an init error seriously only then.
    """
    failure = error if isinstance(error, Failure) else init_failure_of(error)
    fields = {
        "logger": "lmi_runtime.bootstrap",
        "errorType": failure.error_type,
        "errorMessage": failure.message,
        "stackTrace": list(failure.stack),
    }
    form = JsonFormat() if log_format is LogFormat.JSON else TextFormat()
    line = form.notice(logging.ERROR, "The function could not be started", fields)
    # Not through logging: what cannot be started may be the logging itself.
    os.write(2, line + b"\n")
    try:
        api = BlockingRuntimeApi(address)
    except ConfigurationError:
        return 1  # the address is what is wrong
    api.post_init_error(failure)
    return 1
