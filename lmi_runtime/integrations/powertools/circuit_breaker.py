"""
Circuit breakers: what an ``async def`` comes to counts, and one call at a time tries again.

Powertools elects a thread that tries whether the service is back. The tasks of a loop are all
that thread, and where each request has a thread of its own, none of them is there for the next
try. Here the process is elected, and one of its calls at a time tries for it.
"""

from __future__ import annotations

import functools
import inspect
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from types import ModuleType
from typing import Any, Final

from lmi_runtime import _sync
from lmi_runtime.integrations.calls import in_thread, is_async, is_awaited_here
from lmi_runtime.integrations.patching import Swaps
from lmi_runtime.integrations.powertools.endings import raising, returning

__all__ = ["count_what_is_awaited"]

_CLOSED: Final = object()
"""The function is to be called."""
_PROBE: Final = object()
"""The function is to be called, to see whether the service is back."""

_owners: dict[int, str] = {}
"""For each process id, as a fork leaves its parent's behind; changed by dict.setdefault only."""


class _Open:
    """The function is not to be called."""

    def __init__(self, circuit: Any) -> None:
        self.circuit = circuit


class _Probes:
    """
    The circuits that calls of this process are trying.

    Thread safety: from any thread.
    """

    def __init__(self) -> None:
        self._lock = _sync.Lock()
        self._names: set[str] = set()  # guarded by _lock

    @contextmanager
    def one(self, name: str) -> Iterator[bool]:
        """Whether the block is the only one for the circuit."""
        with self._lock:
            is_only = name not in self._names
            self._names.add(name)
        try:
            yield is_only
        finally:
            if is_only:
                with self._lock:
                    self._names.discard(name)


_probes = _sync.ProcessWide(_Probes, anew_in_child=True)


def count_what_is_awaited(module: ModuleType, swaps: Swaps) -> None:
    """Change the class that calls go through; those decorated before go through it as well."""
    handler = swaps.attribute(module, "CircuitBreakerHandler")
    swaps.fields(handler, "name", "function", "fn_args", "fn_kwargs", "persistence_store")
    handle = swaps.function(handler, "handle", "self")
    call_closed = swaps.function(handler, "_call_closed", "self")
    call_probe = swaps.function(handler, "_call_probe", "self")
    swaps.function(handler, "_open_response", "self, circuit")
    swaps.function(module, "_probe_owner_id", "")

    @functools.wraps(handle)
    def handled(self: Any) -> Any:
        if is_awaited_here(self.function):
            return _awaited(self, handle, call_closed, call_probe)
        return handle(self)

    @functools.wraps(call_closed)
    def called(self: Any) -> Any:
        return _called(self, call_closed)

    @functools.wraps(call_probe)
    def probed(self: Any) -> Any:
        with _probes().one(self.name) as is_only:
            if is_only:
                return _called(self, call_probe)
        return self._open_response(_circuit(self))

    swaps.put(handler, "handle", handled)
    swaps.put(handler, "_call_closed", called)
    swaps.put(handler, "_call_probe", probed)
    swaps.put(module, "_probe_owner_id", _process)


def _called(handler: Any, call: Callable[[Any], Any]) -> Any:
    """Call a function that is not known to be async; what it returns may be, nevertheless."""
    ended = copy(handler)
    try:
        response = handler.function(*handler.fn_args, **handler.fn_kwargs)
    except Exception as error:
        ended.function = raising(error)
    else:
        if inspect.isawaitable(response):
            return _recorded(handler, returning(response), call)
        ended.function = returning(response)
    return call(ended)


def _process() -> str:
    pid = os.getpid()
    return _owners.setdefault(pid, f"{pid}#{uuid.uuid4().hex}")


def _circuit(handler: Any) -> Any:
    return handler.persistence_store.get_state(handler.name).to_circuit_info()


async def _awaited(
    handler: Any,
    handle: Callable[[Any], Any],
    call_closed: Callable[[Any], Any],
    call_probe: Callable[[Any], Any],
) -> Any:
    """Do as powertools does around a function, in threads, and await the function in between."""
    way = await _way(handler, handle)
    if way is _CLOSED:
        return await _recorded(handler, handler.function, call_closed)
    if way is _PROBE:
        with _probes().one(handler.name) as is_only:
            if is_only:
                return await _recorded(handler, handler.function, call_probe)
        way = _Open(await in_thread(_circuit, handler))
    return await _refused(handler, way.circuit)


async def _way(handler: Any, handle: Callable[[Any], Any]) -> Any:
    asking = copy(handler)
    asking._call_closed = returning(_CLOSED)
    asking._call_probe = returning(_PROBE)
    asking._open_response = _Open
    look = getattr(handler.persistence_store, "_retrieve_from_cache", returning(None))
    known = look(handler.name)
    if known is not None and str(known.state) == "CLOSED":
        return handle(asking)  # nothing is read or written: most calls are these
    return await in_thread(handle, asking)


async def _recorded(handler: Any, function: Callable[..., Any], call: Callable[[Any], Any]) -> Any:
    """
    Call the function, and have powertools record what it came to.

    A call that is cancelled came to nothing: that the service failed is not known.
    """
    ended = copy(handler)
    try:
        response = await function(*handler.fn_args, **handler.fn_kwargs)
    except Exception as error:
        ended.function = raising(error)
    else:
        ended.function = returning(response)
        if call.__name__ == "_call_closed":
            return call(ended)  # takes a note of it, and writes nothing
    return await _sync.shielded(lambda: in_thread(call, ended))


async def _refused(handler: Any, circuit: Any) -> Any:
    if handler.on_circuit_open is None or is_async(handler.on_circuit_open):
        response = handler._open_response(circuit)
    else:
        response = await in_thread(handler._open_response, circuit)
    return await response if inspect.isawaitable(response) else response
