"""The X-Ray trace header of what is being served, which is never the process's while others are."""

from __future__ import annotations

import logging
import os
from typing import Final

from lmi_runtime import context

__all__ = ["VARIABLE", "trace_header"]

logger = logging.getLogger("lmi_runtime.integrations")

VARIABLE: Final = "_X_AMZN_TRACE_ID"
"""Where runtimes that serve one request at a time put it."""

_warned: dict[str, object] = {}
"""Whether somebody has been told; changed by dict.setdefault only."""


def trace_header() -> str | None:
    """
    The header of the request, and where there is none what the environment says.

    A variable that says something else than the request was set by somebody who takes the process
    for one request's. That is told once, and not followed.

    Thread safety: from any task or thread.
    """
    told = os.environ.get(VARIABLE)
    request = context.peek()
    if request is None:
        return told
    if told is not None and told != request.trace_id:
        _warn()
    return request.trace_id


def _warn() -> None:
    mine = object()
    if _warned.setdefault("since", mine) is mine:
        logger.warning(
            "Something in this process sets the environment variable %s, which all requests "
            "share: traces follow each request's own header all the same; have it set no more, "
            "as it is wrong for every other request that is being served.",
            VARIABLE,
        )
