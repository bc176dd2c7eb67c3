"""Log lines of a loop that somebody else's log filter must not stop."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping

__all__ = ["say"]


def say(
    logger: logging.Logger,
    level: int,
    message: str,
    *args: object,
    extra: Mapping[str, object] | None = None,
) -> None:
    """
    Log, and never raise.

    `logging` guards its callers against handlers that fail to emit and not against filters.
    One that wants the request of a record made outside any would cost a caller the answer.
    """
    try:
        logger.log(level, message, *args, extra=extra, stacklevel=2)
    except Exception:
        traceback.print_exc()
