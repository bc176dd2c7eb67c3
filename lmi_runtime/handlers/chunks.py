"""A generator handler's items as the chunks of a response, one at a time, closed on every path."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextvars import Context
from types import TracebackType
from typing import Any, TypeVar, cast

import anyio
import anyio.to_thread

from lmi_runtime.handlers.faults import failure_of
from lmi_runtime.handlers.streaming import HTTP_STREAM, OCTETS, HttpHead, chunk_of
from lmi_runtime.model import StreamFailed

__all__ = ["CLOSE_PATIENCE_S", "AsyncChunks", "Chunks", "ThreadChunks"]

CLOSE_PATIENCE_S = 1.0
"""Seconds a generator has for its `finally` blocks when it is closed before its end."""

T = TypeVar("T")

_log = logging.getLogger(__name__)

IsFromOutside = Callable[[BaseException], bool]
"""Tells the runtime's own cancellation from what user code raised."""


class Chunks(AsyncGenerator[bytes, None]):
    """
    The rest of a stream whose first chunk has been made.

    An object and not an async generator function: one that was never started would not close
    what it holds.

    Thread safety: loop thread only, one consumer.
    """

    def __init__(self, is_from_outside: IsFromOutside) -> None:
        self._is_from_outside = is_from_outside
        self._first: bytes | None = None  # loop thread only, once opened
        self._ended = False  # loop thread only, once opened
        self._bytes_of: Callable[[object], bytes] = self._bytes_of_first
        self._content_type = OCTETS

    @property
    def content_type(self) -> str:
        """Content type of the stream, known once it is open."""
        return self._content_type

    @property
    def is_empty(self) -> bool:
        """Whether the stream ended before its first byte."""
        return self._first is None

    async def asend(self, value: None) -> bytes:
        """Return the next chunk."""
        if self._first is not None:
            chunk, self._first = self._first, None
            return chunk
        if self._ended:
            raise StopAsyncIteration
        try:
            following = await self._pull()
        except BaseException as exc:
            await self.aclose()
            if self._is_from_outside(exc):
                raise
            raise StreamFailed(failure_of(exc)) from exc
        if following is None:
            self._ended = True
            raise StopAsyncIteration
        return following

    async def athrow(
        self,
        typ: Any,
        val: Any = None,
        tb: TracebackType | None = None,
        /,
    ) -> bytes:
        """Close the stream and raise; no user code sees the exception."""
        await self.aclose()
        raise typ if val is None else val

    async def aclose(self) -> None:
        """Close the generator unless it has ended; what it raises then is logged."""
        self._first = None
        if self._ended:
            return
        self._ended = True
        try:
            # Shielded: this runs most often because the task has been cancelled.
            with anyio.move_on_after(CLOSE_PATIENCE_S, shield=True):
                await self._close()
        except BaseException as exc:
            if self._is_from_outside(exc):
                raise
            _log.exception("The streaming handler raised while it was closed.")

    def _bytes_of_first(self, item: object) -> bytes:
        self._bytes_of = chunk_of
        if isinstance(item, HttpHead):
            self._content_type = HTTP_STREAM
            return item.prelude()
        return chunk_of(item)

    @abstractmethod
    async def _pull(self) -> bytes | None:
        """The next chunk that is not empty, or None at the end."""

    @abstractmethod
    async def _close(self) -> None:
        """Close the generator."""


class AsyncChunks(Chunks):
    """Chunks of an async generator, run in the consumer's task."""

    def __init__(self, items: AsyncIterator[object], is_from_outside: IsFromOutside) -> None:
        super().__init__(is_from_outside)
        self._items = items

    async def open(self) -> None:
        """
        Make the first chunk.

        Raises:
            BaseException: Whatever user code raised; the generator is closed.
        """
        try:
            self._first = await self._pull()
        except BaseException:
            await self.aclose()
            raise
        self._ended = self._first is None

    async def _pull(self) -> bytes | None:
        async for item in self._items:
            if chunk := self._bytes_of(item):
                return chunk
        return None

    async def _close(self) -> None:
        if isinstance(self._items, AsyncGenerator):
            await self._items.aclose()


class ThreadChunks(Chunks):
    """Chunks of a generator; each is made in a worker thread, in the request's context."""

    def __init__(
        self, items: Iterator[object], context: Context, is_from_outside: IsFromOutside
    ) -> None:
        super().__init__(is_from_outside)
        self._items = items
        self._context = context

    def open(self) -> None:
        """
        Make the first chunk, in the calling thread.

        Raises:
            BaseException: Whatever user code raised; the generator is closed.
        """
        try:
            self._first = self._context.run(self._step)
        except BaseException:
            self._ended = True
            self._context.run(self._close_items)
            raise
        self._ended = self._first is None

    async def _pull(self) -> bytes | None:
        return await self._in_thread(self._step)

    async def _close(self) -> None:
        await self._in_thread(self._close_items)

    async def _in_thread(self, step: Callable[[], T]) -> T:
        # A limiter of its own: slots bound the streams already, and streams that waited for a
        # thread of the shared limiter could wait for one another.
        limiter = anyio.CapacityLimiter(1)
        value, error = await anyio.to_thread.run_sync(
            self._context.run, _boxed, step, limiter=limiter
        )
        if error is not None:
            raise error
        return cast("T", value)

    def _step(self) -> bytes | None:
        for item in self._items:
            if chunk := self._bytes_of(item):
                return chunk
        return None

    def _close_items(self) -> None:
        if isinstance(self._items, Generator):
            self._items.close()


def _boxed(step: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    """Carry what `step` raises past the machinery between threads, and its stack with it."""
    try:
        return step(), None
    except BaseException as exc:
        return None, exc
