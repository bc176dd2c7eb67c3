"""Lines that powertools holds back until an error is logged: each request has its own."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from lmi_runtime import _sync, context
from lmi_runtime.integrations.patching import Swaps
from lmi_runtime.integrations.powertools.logger_keys import tracer_id
from lmi_runtime.integrations.scopes import PROCESS, PerScope, holder

__all__ = ["kept_lines", "make_buffer_safe", "make_cache_safe"]

_LINES = "cache"
"""The attribute of powertools' cache: for each trace, what is held back."""

_NO_TRACE = "no trace"
"""What lines are held back under where no trace is known; there is one request's at a time."""

_being_written: ContextVar[tuple[object, dict[str, Any]] | None]
_being_written = ContextVar("lmi_runtime.integrations.being_written", default=None)
_is_kept: ContextVar[bool] = ContextVar("lmi_runtime.integrations.lines_kept", default=False)


@contextmanager
def kept_lines() -> Iterator[None]:
    """
    Have lines stay where they are held back, whoever clears them in the block.

    Thread safety: changes the calling context only.
    """
    token = _is_kept.set(True)
    try:
        yield
    finally:
        _is_kept.reset(token)


def _lock() -> _sync.RLock:
    """
    Held for single operations on what one request holds back.

    Not for those on what others do, and re-entrant: they make strings of whatever users log.
    """
    lock: _sync.RLock = holder().keep(_lock, _sync.RLock)
    return lock


def make_cache_safe(module: ModuleType, swaps: Swaps) -> None:
    """
    Change ``logging.buffer.cache``.

    Raises:
        Unexpected: It is not what this was written for.
    """
    cache = module.LoggerBufferCache
    swaps.fields(cache, "cache")
    for name, parameters in _OPERATIONS.items():
        swaps.put(cache, name, _locked(swaps.function(cache, name, parameters)))
    clear = _locked(swaps.function(cache, "clear", "self, key"))
    swaps.put(cache, "clear", lambda *args, **kw: None if _is_kept.get() else clear(*args, **kw))
    swaps.put(cache, _LINES, RequestLines(_LINES, lambda _: {}, default=dict))


_OPERATIONS = {
    "add": "self, key, item",
    "get": "self, key",
    "has_items_evicted": "self, key",
    "get_current_size": "self, key",
}


class RequestLines(PerScope):
    """
    The lines that the calling request holds back, in one cache.

    Those that are being written are out of reach for whoever logs at the same time.

    Thread safety: under the lock of `_lock`.
    """

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        written = _being_written.get()
        if written is not None and written[0] is instance:
            return written[1]
        return super().__get__(instance, owner)


def _locked(operation: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(operation)
    def locked(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _lock():
            return operation(self, *args, **kwargs)

    return locked


def make_buffer_safe(module: ModuleType, swaps: Swaps) -> None:
    """
    Change how ``logging.logger`` holds lines back.

    Raises:
        Unexpected: It is not what this was written for.
    """
    logger = module.Logger
    swaps.function(logger, "_create_and_flush_log_record", "self, log_line")
    swaps.function(module, "_create_buffer_record", _RECORD)
    swaps.function(logger, "_add_log_record_to_buffer", f"self, {_RECORD}")
    swaps.function(module, "get_tracer_id", "")
    swaps.attribute(module, "PowertoolsUserWarning")
    flush = swaps.function(logger, "flush_buffer", "self")
    make_record = module._create_buffer_record

    # It finds the caller by counting frames, so this has to be where powertools' own was.
    def _add_log_record_to_buffer(
        self: Any,
        level: int,
        msg: object,
        args: object,
        exc_info: Any = None,
        stack_info: bool = False,
        extra: Any = None,
    ) -> None:
        if self._buffer_config:
            line = make_record(
                level=level,
                msg=msg,
                args=args,
                exc_info=exc_info,
                stack_info=stack_info,
                extra=extra,
            )
            _hold_back(self, line, module.PowertoolsUserWarning)

    swaps.put(logger, "_add_log_record_to_buffer", _add_log_record_to_buffer)
    swaps.put(logger, "flush_buffer", _flushing(flush))
    swaps.put(module, "get_tracer_id", _trace)


_RECORD = "level, msg, args, exc_info, stack_info, extra"


def _trace() -> str:
    """What lines of the calling request are held back under."""
    return tracer_id() or _NO_TRACE


def _hold_back(logger: Any, line: dict[str, Any], warning: type[Warning]) -> None:
    if holder() is PROCESS and tracer_id() is None:
        # There is no invocation that could ever ask for it.
        if logger._logger.isEnabledFor(line["level"]):
            logger._create_and_flush_log_record(line)
        return
    cache, trace = logger._buffer_cache, _trace()
    token = _being_written.set(None)
    try:
        # Where there are no requests, another trace is what tells that one has ended.
        if context.peek() is None and not cache.get(trace):
            cache.clear()
        cache.add(trace, line)
    except BufferError:
        limit = f"Item size exceeds total cache size {logger._buffer_config.max_bytes} bytes"
        warnings.warn(f"Cannot add item to the buffer. {limit}", warning, stacklevel=4)
        logger._create_and_flush_log_record(line)
    finally:
        _being_written.reset(token)


def _flushing(flush: Callable[[Any], None]) -> Callable[[Any], None]:
    @functools.wraps(flush)
    def flushing(self: Any) -> None:
        if not self._buffer_config:
            return
        cache = self._buffer_cache
        with _lock():
            taken = dict(cache.cache)
            cache.cache.clear()
        # Without the lock: writing waits for handlers, and formats whatever users log.
        token = _being_written.set((cache, taken))
        try:
            flush(self)
        finally:
            _being_written.reset(token)

    return flushing
