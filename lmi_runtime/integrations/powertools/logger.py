"""powertools' Logger: made once whoever makes it, and its decorator around any handler."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from types import ModuleType
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.integrations.calls import is_awaited_here, request_for
from lmi_runtime.integrations.patching import Swaps
from lmi_runtime.integrations.powertools.logger_buffer import kept_lines
from lmi_runtime.integrations.powertools.logger_formatters import look_at
from lmi_runtime.integrations.powertools.logger_keys import KEYS, for_everybody
from lmi_runtime.integrations.trace_header import trace_header

__all__ = ["make_logger_safe", "make_utils_safe"]

_setting_up = _sync.ProcessWide(lambda: _sync.RLock(), anew_in_child=True)
_asking = _sync.ProcessWide(lambda: _sync.Lock(), anew_in_child=True)


def make_logger_safe(module: ModuleType, swaps: Swaps) -> None:
    """
    Change ``logging.logger``.

    Raises:
        Unexpected: It is not what this was written for.
    """
    logger = module.Logger
    set_up = swaps.function(logger, "_init_logger", "self, formatter_options, log_level, **kwargs")
    decorator = swaps.function(logger, "inject_lambda_context", "self, lambda_handler")
    structure = swaps.function(logger, "structure_logs", "self, append, formatter_options, **keys")
    is_cold_start = swaps.function(module, "_is_cold_start", "")

    swaps.put(logger, "_init_logger", _set_up_once(set_up))
    swaps.put(logger, "structure_logs", _keeping_formatters(structure))
    swaps.put(logger, "inject_lambda_context", _around_any_handler(decorator))
    swaps.put(module, "_is_cold_start", _one_at_a_time(is_cold_start))
    for existing in _existing(module):
        look_at(existing)


def make_utils_safe(module: ModuleType, swaps: Swaps) -> None:
    """
    Change ``logging.utils``.

    Raises:
        Unexpected: It is not what this was written for.
    """
    configure = swaps.function(module, "_configure_logger", "source_logger, logger, level")

    @functools.wraps(configure)
    def configuring(source_logger: Any, *args: Any, **kwargs: Any) -> None:
        formatter = source_logger.registered_formatter
        before = vars(formatter).get(KEYS, {})
        with _setting_up(), for_everybody():
            configure(source_logger, *args, **kwargs)
        after = vars(formatter).get(KEYS, {})
        # The request that had it done has keys of its own already.
        formatter.append_keys(**{key: after[key] for key in after if key not in before})

    swaps.put(module, "_configure_logger", configuring)


def _set_up_once(set_up: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(set_up)
    def setting_up(self: Any, *args: Any, **kwargs: Any) -> None:
        with _setting_up(), for_everybody():
            set_up(self, *args, **kwargs)
            handlers = self._logger.handlers
            if not self.child and handlers and self.logger_handler.formatter is None:
                # Another thread has set it up since this one made a handler for it.
                self.logger_handler = handlers[0]
        if not self.child:
            look_at(self.logger_handler.formatter)

    return setting_up


def _keeping_formatters(structure: Callable[..., None]) -> Callable[..., None]:
    """Children have no formatter: powertools would replace their parent's, for all requests."""

    @functools.wraps(structure)
    def structure_logs(self: Any, append: bool = False, *args: Any, **keys: Any) -> None:
        formatter = getattr(self.registered_handler, "formatter", None) if self.child else None
        if formatter is None:
            structure(self, append, *args, **keys)
            return
        keys.pop("formatter_options", None)
        if not append:
            formatter.clear_state()
            formatter.thread_safe_clear_keys()
            keys = {**self._default_log_keys, **keys}
        formatter.append_keys(**keys)

    return structure_logs


def _existing(module: ModuleType) -> Iterator[Any]:
    """Formatters of the loggers that were made before this."""
    manager = module.logging.root.manager
    for logger in list(manager.loggerDict.values()):
        handler = getattr(logger, "powertools_handler", None)
        if handler is not None:
            yield handler.formatter


def _one_at_a_time(function: Callable[[], bool]) -> Callable[[], bool]:
    @functools.wraps(function)
    def asking() -> bool:
        with _asking():
            return function()

    return asking


def _around_any_handler(decorator: Callable[..., Any]) -> Callable[..., Any]:
    """The decorator, which opens a request where there is none, and waits for what it decorates."""
    signature = inspect.signature(decorator)

    @functools.wraps(decorator)
    def inject_lambda_context(self: Any, lambda_handler: Any = None, *args: Any, **kw: Any) -> Any:
        decorated = decorator(self, lambda_handler, *args, **kw)
        if lambda_handler is None:
            return decorated
        given = signature.bind(self, lambda_handler, *args, **kw).arguments
        call = _Call(self, decorated, bool(given.get("flush_buffer_on_uncaught_error")))
        return functools.wraps(lambda_handler)(call.of_kind(lambda_handler))

    return inject_lambda_context


class _Call:
    """
    Calls of a decorated handler.

    Powertools' own decorator does what comes before the handler, whatever that is. What comes
    after, it does as soon as a coroutine or generator has been made; so for these it is done here,
    when they have ended.
    """

    def __init__(self, logger: Any, decorated: Callable[..., Any], flushes: bool) -> None:
        self._logger = logger
        self._decorated = decorated
        self._flushes = flushes

    def of_kind(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """A function like `handler`: plain, or one of those that only begin when it is called."""
        if inspect.iscoroutinefunction(handler):
            return self._coroutine()
        if inspect.isasyncgenfunction(handler):
            return self._async_generator()
        return self._generator() if inspect.isgeneratorfunction(handler) else self._plain(handler)

    def _plain(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        # Other decorators may lie on top of any kind, and run it to its end or not: it is what
        # comes of it that tells.
        def call(event: Any, context: Any, *args: Any, **kwargs: Any) -> Any:
            if is_awaited_here(handler):
                begin = partial(self._begun, event, context, *args, **kwargs)
                return self._awaited(context, begin)
            with _serving(context):
                try:
                    result = self._begun(event, context, *args, **kwargs)
                except BaseException:
                    self._logger.clear_buffer()
                    raise
                go_on = self._way_to_go_on(result)
                if go_on is not None:
                    return go_on(context, lambda: result)
                self._logger.clear_buffer()
                return result

        return call

    def _way_to_go_on(self, result: Any) -> Callable[..., Any] | None:
        """With what has only been made, and does its work later."""
        if inspect.isawaitable(result):
            return self._awaited
        if inspect.isgenerator(result):
            return self._read
        return self._read_async if inspect.isasyncgen(result) else None

    def _coroutine(self) -> Callable[..., Any]:
        async def call(event: Any, context: Any, *args: Any, **kwargs: Any) -> Any:
            return await self._awaited(
                context, partial(self._begun, event, context, *args, **kwargs)
            )

        return call

    def _generator(self) -> Callable[..., Any]:
        def call(event: Any, context: Any, *args: Any, **kwargs: Any) -> Any:
            begin = partial(self._begun, event, context, *args, **kwargs)
            return (yield from self._read(context, begin))

        return call

    def _async_generator(self) -> Callable[..., Any]:
        async def call(event: Any, context: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            begin = partial(self._begun, event, context, *args, **kwargs)
            async with aclosing(self._read_async(context, begin)) as parts:
                async for part in parts:
                    yield part

        return call

    async def _awaited(self, context: Any, begin: Callable[[], Any]) -> Any:
        with _serving(context), self._afterwards():
            return await begin()

    def _read(self, context: Any, begin: Callable[[], Any]) -> Any:
        with _serving(context), self._afterwards():
            return (yield from begin())

    async def _read_async(
        self, context: Any, begin: Callable[[], Any]
    ) -> AsyncGenerator[Any, None]:
        with _serving(context), self._afterwards():
            async with aclosing(begin()) as parts:
                async for part in parts:
                    yield part

    def _begun(self, *args: Any, **kwargs: Any) -> Any:
        with kept_lines():
            return self._decorated(*args, **kwargs)

    @contextmanager
    def _afterwards(self) -> Iterator[None]:
        try:
            yield
        except GeneratorExit:
            raise  # whoever reads has had enough: that is no error
        except BaseException:
            if self._flushes:
                self._logger.flush_buffer()
            raise
        finally:
            self._logger.clear_buffer()


@contextmanager
def _serving(lambda_context: Any) -> Iterator[None]:
    # A durable function's context holds the one that tells of the invocation.
    if hasattr(lambda_context, "state") and hasattr(lambda_context, "lambda_context"):
        lambda_context = lambda_context.lambda_context
    with request_for(lambda_context):
        trace_header()  # for what it says of libraries that set the variable for all requests
        yield
