"""
Idempotency: what a call is named after is its own, and so is the time that its request has left.

Powertools keeps the name of the function in the persistence layer, which calls share: of two at
once, or of one within another, the later would name the record of the earlier. It keeps the
Lambda context in the configuration, which requests share. And it stores what a function returned,
which for an ``async def`` is a coroutine.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from copy import copy
from types import ModuleType
from typing import Any, Final

from lmi_runtime import _sync, context
from lmi_runtime.integrations.calls import in_thread, is_awaited_here, request_for
from lmi_runtime.integrations.patching import Swaps
from lmi_runtime.integrations.powertools.endings import raising, returning
from lmi_runtime.integrations.scopes import PROCESS, PerScope, Scope, holder

__all__ = ["isolate_calls", "isolate_configs", "isolate_stores", "see_invocations"]

logger = logging.getLogger("lmi_runtime.integrations")

PATIENCE_S: Final = 5.0
"""Seconds that a cancelled call waits for the deletion of its record, which goes on without it."""

_CALL: Final = Scope("idempotent_call")
_cache_lock = _sync.ProcessWide(lambda: _sync.RLock(), anew_in_child=True)
"""Of all local caches: they are used for microseconds. Code of users' keys may run under it."""
_configure_lock = _sync.ProcessWide(lambda: _sync.RLock(), anew_in_child=True)

_RUN: Final = object()
"""The record has been written; the function is to be called."""


# What calls share.


def isolate_stores(module: ModuleType, swaps: Swaps) -> None:
    """A call's own name for its record; one thread at a time that configures, or uses a cache."""
    store = swaps.attribute(module, "BasePersistenceLayer")
    configure = swaps.function(store, "configure", "self, config, function_name, key_prefix")
    swaps.fields(store, "function_name")
    forget = swaps.function(store, "_delete_from_cache", "self, idempotency_key")
    lru = swaps.attribute(module, "LRUDict")
    swaps.put(store, "function_name", PerScope("function_name", _same, scope=_CALL, default=str))
    # It says that it is done before it begins; a second thread would go on with half of it.
    swaps.put(store, "configure", _one_at_a_time(configure, _configure_lock))
    swaps.put(store, "_delete_from_cache", _one_at_a_time(forget, _cache_lock))
    for name in ("__getitem__", "__setitem__", "__delitem__", "get"):
        method = swaps.attribute(lru, name)
        swaps.put(lru, name, _one_at_a_time(method, _cache_lock))


def _same(value: Any) -> Any:
    return value


def _one_at_a_time(function: Callable[..., Any], lock: Callable[[], Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def locked(*args: Any, **kwargs: Any) -> Any:
        with lock():
            return function(*args, **kwargs)

    return locked


def isolate_configs(module: ModuleType, swaps: Swaps) -> None:
    """The Lambda context that a request registered is nobody else's."""
    config = swaps.attribute(module, "IdempotencyConfig")
    swaps.fields(config, "lambda_context")
    swaps.function(config, "register_lambda_context", "self, lambda_context")
    own = PerScope("lambda_context", _of_this_request, default=lambda: None)
    swaps.put(config, "lambda_context", own)


def _of_this_request(left_behind: Any) -> Any:
    """Never more time than the request has: what was registered outside it is not about it."""
    request = context.peek()
    return left_behind if left_behind is None or request is None else request.lambda_context


# Calls.


def isolate_calls(module: ModuleType, swaps: Swaps) -> None:
    """Each call keeps its name, and what a function leaves to be awaited is awaited."""
    handler = swaps.attribute(module, "IdempotencyHandler")
    init = swaps.function(handler, "__init__", "self, function, config, persistence_store")
    handle = swaps.function(handler, "handle", "self")
    respond = swaps.function(handler, "_get_function_response", "self")

    @functools.wraps(init)
    def initialised(self: Any, *args: Any, **kwargs: Any) -> None:
        is_within = _CALL.holder() is not holder()
        with _CALL.opened():
            init(self, *args, **kwargs)
            name = getattr(self.persistence_store, "function_name", None)
        self._lmi_function_name = name
        if not is_within:
            # Who uses the layer by itself afterwards means the last call of its request.
            self.persistence_store.function_name = name

    @functools.wraps(handle)
    def handled(self: Any, *args: Any, **kwargs: Any) -> Any:
        if is_awaited_here(self.function):
            return _awaited(self, lambda beginning: handle(beginning, *args, **kwargs))
        with _named(self):
            return handle(self, *args, **kwargs)

    @functools.wraps(respond)
    def responded(self: Any) -> Any:
        finishing = copy(self)
        try:
            response = self.function(*self.fn_args, **self.fn_kwargs)
        except Exception as error:
            finishing.function = raising(error)
        else:
            if inspect.isawaitable(response):
                return _finished(self, returning(response))
            finishing.function = returning(response)
        return respond(finishing)

    swaps.put(handler, "__init__", initialised)
    swaps.put(handler, "handle", handled)
    swaps.put(handler, "_get_function_response", responded)


@contextmanager
def _named(handler: Any) -> Iterator[None]:
    """In the block, the persistence layer has the name of this call's function."""
    with _CALL.opened():
        handler.persistence_store.function_name = handler._lmi_function_name
        yield


async def _awaited(handler: Any, handle: Callable[[Any], Any]) -> Any:
    """
    Do as powertools does around a function, in threads, and await the function in between.

    A call that is cancelled is one that failed: the next one may begin at once.
    """
    claim = _Claim(handler, handle)
    try:
        stored = await in_thread(claim.make)
    except BaseException as error:
        if claim.give_up():
            await _let_go(handler, error)
        raise
    if stored is not _RUN:
        return stored
    return await _finished(handler, handler.function)


async def _finished(handler: Any, function: Callable[..., Any]) -> Any:
    """Await the function, and store what it came to."""
    try:
        response = await function(*handler.fn_args, **handler.fn_kwargs)
    except Exception as error:
        return await _settled(handler, raising(error))
    except BaseException as error:
        await _let_go(handler, error)
        raise
    return await _settled(handler, returning(response))


class _Claim:
    """
    The record that says that the function is being called.

    The caller may be cancelled while a thread writes it. Whoever of the two comes second knows of
    the other, and deletes it.
    """

    def __init__(self, handler: Any, handle: Callable[[Any], Any]) -> None:
        self._handler = handler
        self._handle = handle
        self._lock = _sync.Lock()
        self._is_made = False  # guarded by _lock
        self._is_given_up = False  # guarded by _lock

    def make(self) -> Any:
        """What has been stored before, or `_RUN`. In a thread."""
        beginning = copy(self._handler)
        beginning._get_function_response = returning(_RUN)
        with _named(self._handler):
            stored = self._handle(beginning)
        if stored is _RUN:
            with self._lock:
                self._is_made = True
                is_given_up = self._is_given_up
            if is_given_up:
                _release(self._handler, None)
        return stored

    def give_up(self) -> bool:
        """Nobody will call the function. Whether there is a record already, for you to delete."""
        with self._lock:
            self._is_given_up = True
            return self._is_made


async def _settled(handler: Any, ending: Callable[..., Any]) -> Any:
    """Store what the function came to; what it returned. Not left half done by a cancellation."""
    return await _sync.shielded(lambda: in_thread(_settle, handler, ending))


def _settle(handler: Any, ending: Callable[..., Any]) -> Any:
    finishing = copy(handler)
    finishing.function = ending
    with _named(handler):
        return finishing._get_function_response()


async def _let_go(handler: Any, error: BaseException) -> None:
    """Delete the record of a call that was cancelled."""
    release = functools.partial(copy_context().run, _release, handler, error)
    if isinstance(error, GeneratorExit):
        # The coroutine was thrown away. It can wait for nothing any more.
        _sync.spawn(release, name="idempotency record of an abandoned call")
        return
    try:
        await _sync.offload(release, PATIENCE_S)
    except TimeoutError:
        logger.warning(
            "The idempotency record of a cancelled call was not deleted within %g s: until it is, "
            "or has expired, calls with the same key are refused.",
            PATIENCE_S,
        )


def _release(handler: Any, error: BaseException | None) -> None:
    try:
        with _named(handler):
            handler.persistence_store.delete_record(data=handler.data, exception=error)
    except Exception:
        logger.warning(
            "The idempotency record of a cancelled call could not be deleted: until it has "
            "expired, calls with the same key are refused.",
            exc_info=True,
        )


# Invocations.


def see_invocations(module: ModuleType, swaps: Swaps) -> None:
    """Have `idempotent` open a request where there is none."""
    original = swaps.function(
        module, "idempotent", "handler, event, context, persistence_store, **kwargs"
    )
    replacement = _in_requests(original)
    swaps.put(module, "idempotent", replacement)
    package = sys.modules.get(module.__name__.rpartition(".")[0])
    if getattr(package, "idempotent", None) is original:
        swaps.put(package, "idempotent", replacement)


def _in_requests(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def idempotent(func: Callable[..., Any] | None = None, **options: Any) -> Callable[..., Any]:
        if func is None:
            return functools.partial(idempotent, **options)
        return _handler(func, original(func, **options), options.get("persistence_store"))

    return idempotent


def _handler(
    func: Callable[..., Any], wrapped: Callable[..., Any], store: Any
) -> Callable[..., Any]:
    async def awaiting(event: Any, context: Any, **kwargs: Any) -> Any:
        with request_for(context):
            response = wrapped(event, context, **kwargs)
            return await response if inspect.isawaitable(response) else response

    def handler(event: Any, context: Any, **kwargs: Any) -> Any:
        if is_awaited_here(func):
            return awaiting(event, context, **kwargs)
        with _invocation(context, store):
            return wrapped(event, context, **kwargs)

    return functools.wraps(func)(awaiting if inspect.iscoroutinefunction(func) else handler)


@contextmanager
def _invocation(context: Any, store: Any) -> Iterator[None]:
    """A request for the block; who uses the layer after it, where there is none, means its call."""
    name = None
    try:
        with request_for(context):
            try:
                yield
            finally:
                name = getattr(store, "function_name", None)
    finally:
        if name and holder() is PROCESS:
            store.function_name = name
