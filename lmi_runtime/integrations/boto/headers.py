"""
The trace header of AWS calls, by which X-Ray joins traces and Lambda stops functions in circles.

botocore takes it from a variable of the environment, of which there is one for all requests.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any
from urllib.parse import quote

from lmi_runtime import context
from lmi_runtime.integrations.patching import Swaps

__all__ = ["add_trace_header", "follow_requests"]

_HEADER = "X-Amzn-Trace-Id"
_KEPT_AS_THEY_ARE = "-=;:+&[]{}\"',"

_as_before: list[Callable[..., None]] = []
"""What botocore did, the latest last; only ever added to."""


def follow_requests(module: ModuleType, swaps: Swaps) -> None:
    """
    Have botocore send the header of the request that makes the call.

    The code of its function is replaced, not the function: sessions and clients that have been
    made already have noted that very object, and so has its table of handlers.
    """
    theirs: Any = swaps.function(module, "add_recursion_detection_header", "params, **kwargs")
    before = FunctionType(theirs.__code__, theirs.__globals__, theirs.__name__)
    _as_before.append(before)
    swaps.put(theirs, "__code__", _stand_in.__code__)


def _stand_in(params: Any, **kwargs: Any) -> None:
    # It runs among the names of botocore's module, so it brings along what it needs.
    from lmi_runtime.integrations.boto.headers import add_trace_header

    add_trace_header(params, **kwargs)


def add_trace_header(params: dict[str, Any], **kwargs: Any) -> None:
    """
    Add the current request's trace header to a call, unless it has one: X-Ray's own is finer.

    Where no request is being served, what the environment says is sent, as ever. In a request
    that came without a trace none is: the environment would know that of another.
    """
    request = context.peek()
    if request is None:
        _as_before[-1](params, **kwargs)
        return
    headers = params["headers"]
    if request.trace_id and "AWS_LAMBDA_FUNCTION_NAME" in os.environ and _HEADER not in headers:
        headers[_HEADER] = quote(request.trace_id, safe=_KEPT_AS_THEY_ARE)
