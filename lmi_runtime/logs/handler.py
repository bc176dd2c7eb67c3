"""The handler of the root logger."""

from __future__ import annotations

import logging
from collections.abc import Callable

from lmi_runtime.logs.formats import stamp

__all__ = ["RootHandler"]


class RootHandler(logging.Handler):
    """
    Hands every record to `take`, in the thread that logs.

    Records get `aws_request_id` and `tenant_id`, of the request that the logging code serves,
    so formatters of the user's own may name them; awslambdaric's handler does the same.

    Thread safety: every method, from any thread. Unlike other handlers it formats without a
    lock: an object that is slow to show holds up nobody else's logging.
    """

    def __init__(self, take: Callable[[logging.LogRecord], object]) -> None:
        super().__init__()
        self._take = take

    def handle(self, record: logging.LogRecord) -> bool | logging.LogRecord:  # type: ignore[override]
        """Filter and emit, without the lock."""
        passed = self.filter(record)
        if isinstance(passed, logging.LogRecord):
            record = passed
        if passed:
            self.emit(record)
        return passed

    def emit(self, record: logging.LogRecord) -> None:
        """Say whose record it is, and hand it on. Never raises."""
        stamp(record)
        try:
            self._take(record)
        except Exception:
            self.handleError(record)
