"""What nobody caught goes through `logging`, with the request it belongs to."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.context import peek
from lmi_runtime.logs.cutting import safe_str

__all__ = ["install_hooks"]

_logger = logging.getLogger("lmi_runtime")


def install_hooks() -> Callable[[], None]:
    """
    Replace the three hooks of the interpreter, and send warnings to `logging`.

    Returns:
        A function that puts back what was there.

    Thread safety: main thread only.
    """
    before = sys.excepthook, sys.unraisablehook
    sys.excepthook, sys.unraisablehook = _uncaught, _unraisable
    thread_hook = _sync.swap_thread_excepthook(_uncaught_in_thread)
    logging.captureWarnings(True)

    def restore() -> None:
        sys.excepthook, sys.unraisablehook = before
        _sync.swap_thread_excepthook(thread_hook)
        logging.captureWarnings(False)

    return restore


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _logger.critical("Uncaught exception", exc_info=(kind, error, trace))


def _uncaught_in_thread(args: _sync.ThreadExceptHookArgs) -> None:
    if args.exc_type is SystemExit or args.exc_value is None:
        return
    name = args.thread.name if args.thread else "unknown"
    _logger.error(
        "Uncaught exception in thread %s",
        name,
        exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
        extra=_whose(args.thread),
    )


def _whose(thread: object) -> dict[str, Any]:
    """The request a thread served: it has left its context by the time its hook is called."""
    request = thread.context.run(peek) if isinstance(thread, _sync.ContextThread) else None
    if request is None:
        return {}
    return {"aws_request_id": request.request_id, "tenant_id": request.tenant_id}


def _unraisable(args: sys.UnraisableHookArgs) -> None:
    # A finalizer runs in whatever request happens to collect it: none is better than a wrong one.
    _logger.error(
        "%s: %s",
        args.err_msg or "Exception ignored in",
        safe_str(args.object),
        exc_info=(args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback),
        extra={"aws_request_id": "", "tenant_id": None},
    )
