"""Run the one coroutine of a process on the event loop that was asked for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import lmi_runtime._sync.on_asyncio  # noqa: F401 - no request waits for it
from lmi_runtime.model import Settings

__all__ = ["run_loop"]

logger = logging.getLogger("lmi_runtime.bootstrap")


def run_loop(main: Callable[[], Coroutine[Any, Any, int]], settings: Settings) -> int:
    """Run `main()` to its end on the backend that `settings` names; returns what it returned."""
    if settings.backend == "trio":
        import trio

        return trio.run(main)
    return _run_asyncio(main, _loop_factory(settings))


def _run_asyncio(
    main: Callable[[], Coroutine[Any, Any, int]],
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> int:
    loop = new_loop()
    asyncio.set_event_loop(loop)
    task = loop.create_task(main())
    while True:
        try:
            return loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt):
            if task.done():
                return task.result()
            # asyncio lets these two leave the loop from *any* task. One request's child task
            # must not end every other request of this process.
            logger.exception("A background task tried to end the process; the worker goes on")


def _loop_factory(settings: Settings) -> Callable[[], asyncio.AbstractEventLoop]:
    if settings.use_uvloop is False:
        return asyncio.new_event_loop
    try:
        import uvloop
    except ImportError:
        if settings.use_uvloop:
            logger.warning("LMI_UVLOOP asks for uvloop, which is not installed; using asyncio's")
        return asyncio.new_event_loop
    return uvloop.new_event_loop
