"""
The functions that work on a batch in one go, which can be awaited where an event loop runs.

They are powertools' own otherwise: it takes the records out of the event, and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.integrations.patching import Swaps
from lmi_runtime.integrations.powertools.batch import outer_kept
from lmi_runtime.integrations.powertools.rerouting import reroute, rerouted

__all__ = ["async_batch_processor", "change"]


def change(module: ModuleType, swaps: Swaps) -> None:
    """Change ``utilities.batch.decorators``."""
    taken = "event, record_handler, processor, context"
    process = swaps.function(module, "process_partial_response", taken)
    reroute(swaps, process, _like_process, _process)
    process_async = swaps.function(module, "async_process_partial_response", taken)
    reroute(swaps, process_async, _like_process, _process_async)


def _like_process(event: Any, record_handler: Any, processor: Any, context: Any = None) -> Any:
    return rerouted(event, record_handler, processor, context)


def _process(
    process: Callable[..., Any], event: Any, record_handler: Any, processor: Any, context: Any
) -> Any:
    with outer_kept(processor):
        return process(event, record_handler, processor, context)


def _process_async(
    process: Callable[..., Any], event: Any, record_handler: Any, processor: Any, context: Any
) -> Any:
    if _sync.current_home() is None:
        return _process(process, event, record_handler, processor, context)
    return _process_on_loop(process, event, record_handler, processor, context)


async def _process_on_loop(
    process: Callable[..., Any], event: Any, record_handler: Any, processor: Any, context: Any
) -> Any:
    # Theirs takes the records out of the event, and says what is wrong with others.
    asked = _Asked(processor)
    process(event, record_handler, asked, context)
    with outer_kept(processor):
        await asked.do()
        return processor.response()


async def async_batch_processor(
    middleware: Callable[..., Any],
    handler: Callable[..., Any],
    event: Any,
    context: Any,
    **options: Any,
) -> Any:
    """The decorator of that name, where an event loop runs."""
    asked = _Asked(options["processor"])
    middleware(_nothing, event, context, **{**options, "processor": asked})
    await asked.do()
    answer = handler(event, context)
    return await answer if isinstance(answer, Awaitable) else answer


def _nothing(event: Any, context: Any) -> None:
    """A handler in the place of one that is called later."""


class _Asked:
    """Takes down what a processor is asked to do by code that cannot wait for it."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._arguments: tuple[Any, ...] = ()
        self.event_type = processor.event_type

    def __call__(self, *arguments: Any, lambda_context: Any = None) -> _Asked:
        records, handler, *rest = arguments
        self._arguments = (records, handler, rest[0] if rest else lambda_context)
        return self

    def __enter__(self) -> None:
        """Nothing has begun."""

    def __exit__(self, *failure: object) -> None:
        """Nothing has ended."""

    def async_process(self) -> None:
        """Later."""

    def response(self) -> None:
        """Later."""

    async def do(self) -> None:
        """Process all records."""
        with self._processor(*self._arguments):
            await self._processor.async_process()
