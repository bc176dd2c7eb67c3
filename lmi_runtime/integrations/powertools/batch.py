"""
Batches that know only their own records and failures.

A processor is usually one object of a module, and keeps the batch that it works on in its own
attributes. Here ``processor(records, handler)`` begins a batch in the calling task or thread, and
what is assigned to the processor from then on is that batch's: for this task or thread, for those
that it starts, and for nobody else. It stays readable after the ``with`` block, as
``processor.response()`` is called there, until the next batch begins.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType, ModuleType, TracebackType
from typing import Any

import anyio

from lmi_runtime import _sync, context
from lmi_runtime.context import Request
from lmi_runtime.integrations.calls import is_async
from lmi_runtime.integrations.helper_threads import carry_where_no_request_is
from lmi_runtime.integrations.patching import Swaps, Unexpected
from lmi_runtime.integrations.scopes import PROCESS, holder

__all__ = ["change", "outer_kept"]

logger = logging.getLogger("lmi_runtime.integrations")

_THEIRS = "aws_lambda_powertools."

_COPIED = frozenset({list, dict, set, deque, defaultdict, OrderedDict, Counter})
"""What subclasses collect things in: each batch starts with copies."""

_KEPT = 16
"""Batches that one context remembers; enough for processors that are used side by side."""


class _Batch:
    """
    The attributes of one processor for one batch.

    Thread safety: `values` as the processor's own attributes; the others by whoever begins it.
    """

    __slots__ = ("in_block", "owed", "processor", "request", "values")

    def __init__(self, processor: Any, attributes: Mapping[str, Any]) -> None:
        self.processor = processor
        self.request: Request | None = context.peek()
        self.values = {
            name: value.copy() for name, value in attributes.items() if type(value) in _COPIED
        }
        self.in_block = 0
        self.owed: list[Coroutine[Any, Any, Any]] = []
        """What `async_process` returned and nobody has awaited to its end."""

    def is_for(self, request: Request | None) -> bool:
        """Whether this may be seen where `request` is served: not in a context's next one."""
        mine = self.request
        return mine is request or mine is None or request is None or not mine.ended


_NONE: Mapping[int, _Batch] = MappingProxyType({})
_batches: ContextVar[Mapping[int, _Batch]]
_batches = ContextVar("lmi_runtime.integrations.batches", default=_NONE)

_get_batches = _batches.get

_in_blocks: dict[int, tuple[_Batch, ...]] = {}
"""The batches of each processor that are being worked on; written under _in_blocks_lock."""
_in_blocks_lock = _sync.ProcessWide(lambda: _sync.Lock(), anew_in_child=True)


def _begin(processor: Any) -> _Batch | None:
    # Where modules are imported there is one batch at a time, and threads without a context.
    if holder() is PROCESS:
        return None
    outer = _batches.get().get(id(processor))
    if outer is not None and outer.in_block:
        raise RuntimeError(
            f"this {type(processor).__name__} works on a batch here already, which would lose its "
            "failures: take another processor, or process_partial_response()"
        )
    batch = _Batch(processor, object.__getattribute__(processor, "__dict__"))
    others = [each for each in _batches.get().values() if each.processor is not processor]
    kept = (*others[-_KEPT:], batch)
    _batches.set({id(each.processor): each for each in kept})
    return batch


def _current(processor: Any, name: str = "") -> _Batch | None:
    """The batch that this task or thread works on; `name` is what it is asked for."""
    batch = _batches.get().get(id(processor))
    if batch is not None:
        # Blocks end before their request does.
        return batch if batch.in_block or batch.is_for(context.peek()) else None
    return _adopted(processor, name) if _in_blocks else None


def _carrying() -> Callable[..., Any] | None:
    """For threads that are started in blocks where no request is: they are part of the blocks."""
    batches = {key: batch for key, batch in _batches.get().items() if batch.in_block}
    if not batches:
        return None

    def part_of_them(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        token = _batches.set(batches)
        try:
            return function(*args, **kwargs)
        finally:
            _batches.reset(token)

    return part_of_them


carry_where_no_request_is(_carrying)


def _adopted(processor: Any, name: str) -> _Batch | None:
    """
    The batch for a thread that was started without the context of whoever started it.

    When it is the only one that it can be. Guessing among several would delete messages.
    """
    candidates = _in_blocks.get(id(processor), ())
    if not candidates or context.peek() is not None or holder() is PROCESS:
        return None
    if len(candidates) == 1:
        return candidates[0]
    if any(name in candidate.values for candidate in candidates):
        raise RuntimeError(
            f"{type(processor).__name__} works on {len(candidates)} batches, and this thread was "
            "started without the context that tells which is its: start it from a request, or "
            "with contextvars.copy_context().run"
        )
    return None


def _open(batch: _Batch) -> None:
    key = id(batch.processor)
    with _in_blocks_lock():
        batch.in_block += 1
        _in_blocks[key] = (*_in_blocks.get(key, ()), batch)


def _close(batch: _Batch) -> None:
    key = id(batch.processor)
    with _in_blocks_lock():
        batch.in_block -= 1
        rest = list(_in_blocks[key])
        rest.remove(batch)
        _in_blocks[key] = tuple(rest)
        if not rest:
            del _in_blocks[key]


@contextmanager
def outer_kept(processor: Any) -> Iterator[None]:
    """For a batch that a record handler works on with the processor of its own batch."""
    outer = _batches.get().get(id(processor))
    if outer is None or not outer.in_block:
        yield
        return
    key = id(processor)
    _batches.set({each: batch for each, batch in _batches.get().items() if each != key})
    try:
        yield
    finally:
        _batches.set({**_batches.get(), key: outer})


# --------------------------------------------------------------------- the processors' methods


def change(module: ModuleType, swaps: Swaps) -> None:
    """Change ``utilities.batch.base``."""
    owner = module.BasePartialProcessor
    call = swaps.function(owner, "__call__", "self, records, handler, lambda_context")
    enter = swaps.function(owner, "__enter__", "self")
    leave = swaps.function(owner, "__exit__", "self, exception_type, exception_value, traceback")
    process = swaps.function(owner, "async_process", "self")
    swaps.function(owner, "_async_process_record", "self, record")
    for name in ("__getattribute__", "__setattr__", "__delattr__"):
        if swaps.attribute(owner, name) is not getattr(object, name):
            raise Unexpected(f"{owner.__qualname__}.{name} is not the one of every object")
    swaps.put(owner, "__call__", _beginning(call, swaps.attribute(module, "BatchProcessor")))
    swaps.put(owner, "__enter__", _entering(enter))
    swaps.put(owner, "__exit__", _leaving(leave))
    swaps.put(owner, "async_process", _processing(process))
    swaps.put(owner, "__getattribute__", _get)
    swaps.put(owner, "__setattr__", _set)
    swaps.put(owner, "__delattr__", _delete)


def _get(self: Any, name: str) -> Any:
    # On the way to every attribute of every record: so `_current` is written out for most of them.
    batch = _get_batches().get(id(self))
    if batch is None or not batch.in_block:
        batch = _current(self, name)
    if batch is not None and name in batch.values:
        return batch.values[name]
    return _get_attribute(self, name)


_get_attribute = object.__getattribute__


def _set(self: Any, name: str, value: object) -> None:
    batch = _current(self, name)
    if batch is None or hasattr(getattr(type(self), name, None), "__set__"):
        object.__setattr__(self, name, value)
    else:
        batch.values[name] = value


def _delete(self: Any, name: str) -> None:
    batch = _current(self, name)
    if batch is not None and name in batch.values:
        del batch.values[name]
    else:
        object.__delattr__(self, name)


def _beginning(call: Callable[..., Any], plain: type) -> Callable[..., Any]:
    def __call__(self: Any, records: Any, handler: Any, lambda_context: Any = None) -> Any:
        _begin(self)
        if isinstance(self, plain) and _is_first(_code(handler)) and is_async(handler):
            _tell_of_coroutines(self, handler)
        return call(self, records, handler, lambda_context)

    return __call__


def _tell_of_coroutines(processor: Any, handler: Any) -> None:
    """Powertools counts such a record as a success: its message is deleted."""
    if type(processor)._process_record.__module__.startswith(_THEIRS):
        logger.warning(
            "%s is an async function, which %s calls and never awaits, so that its messages are "
            "deleted unhandled: use AsyncBatchProcessor.",
            getattr(handler, "__qualname__", handler),
            type(processor).__qualname__,
        )


_told: dict[object, object] = {}
"""What has been said; changed by dict.setdefault only."""


def _code(handler: Any) -> object:
    """What stays the same where a handler is made anew for each batch."""
    return getattr(handler, "__code__", type(handler))


def _is_first(what: object) -> bool:
    mine = object()
    return _told.setdefault(what, mine) is mine


def _entering(enter: Callable[..., Any]) -> Callable[..., Any]:
    def __enter__(self: Any) -> Any:
        batch = _current(self) or _begun_late(self)
        if batch is None:
            return enter(self)
        _open(batch)
        try:
            return enter(self)
        except BaseException:
            _close(batch)
            raise

    return __enter__


def _begun_late(processor: Any) -> _Batch | None:
    """For processors of users that are called in a way of their own."""
    batch = _begin(processor)
    if batch is not None:
        batch.values = {**object.__getattribute__(processor, "__dict__"), **batch.values}
        kind = type(processor)
        if _is_first((kind, "__call__")):
            logger.warning(
                "%s.__call__ does not call powertools' own, so that two batches which begin at "
                "the same moment may get each other's records: call super().__call__(...) in it.",
                kind.__qualname__,
            )
    return batch


def _leaving(leave: Callable[..., Any]) -> Callable[..., Any]:
    def __exit__(
        self: Any,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> Any:
        batch = _current(self)
        if batch is None or not batch.in_block:
            return leave(self, exception_type, exception_value, traceback)
        try:
            if exception_type is None:
                _refuse_to_forget(batch)
            return leave(self, exception_type, exception_value, traceback)
        finally:
            _close(batch)

    return __exit__


def _refuse_to_forget(batch: _Batch) -> None:
    """No answer at all is better than one by which unprocessed messages are deleted."""
    if not batch.owed:
        return
    for forgotten in batch.owed:
        forgotten.close()
    raise RuntimeError(
        "async_process() was not awaited before its block ended: where an event loop runs, write "
        "`await processor.async_process()`"
    )


def _processing(process: Callable[..., Any]) -> Callable[..., Any]:
    def async_process(self: Any) -> Any:
        """
        Process all records at the same time.

        Where an event loop runs already, what this returns has to be awaited.
        """
        if _sync.current_home() is None:
            return process(self)
        batch = _current(self)
        owed = [] if batch is None else batch.owed
        made = _all_processed(self, owed)
        owed.append(made)
        return made

    return async_process


async def _all_processed(processor: Any, owed: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    records = list(processor.records)
    results: list[Any] = [None] * len(records)

    async def one(place: int, record: Any) -> None:
        results[place] = await processor._async_process_record(record)

    try:
        async with anyio.create_task_group() as group:
            for place, record in enumerate(records):
                group.start_soon(one, place, record)
    except BaseExceptionGroup as failures:
        raise _first(failures) from None
    owed.clear()
    return results


def _first(failure: BaseException) -> BaseException:
    """What failed first, as `asyncio.gather` would raise it."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
