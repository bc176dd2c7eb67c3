"""Classic Lambda: one process, one invocation at a time, frozen in between."""

from __future__ import annotations

import logging
import os
import signal

import anyio

from lmi_runtime._sync import current_home
from lmi_runtime.bootstrap.closing import Ending, close_down
from lmi_runtime.bootstrap.loading import load_handler
from lmi_runtime.bootstrap.loops import run_loop
from lmi_runtime.bootstrap.reports import report_init_error
from lmi_runtime.context import set_worker_loop
from lmi_runtime.dispatch import Dispatcher, DispatchHooks, DispatchOptions, Slot
from lmi_runtime.errors import LmiError, RuntimeApiUnreachable
from lmi_runtime.handlers import Target, make_entry
from lmi_runtime.logs import LogPipeline, flush_request, install
from lmi_runtime.model import Invocation, Settings
from lmi_runtime.rapi import HttpRuntimeApi

__all__ = ["serve"]

logger = logging.getLogger("lmi_runtime.bootstrap")

# An answer does not wait for longer than this for a reader that has stopped.
_FREEZE_S = 0.05


def serve(settings: Settings) -> int:
    """Serve in this process until the platform ends it; returns the exit code."""
    logs = install(settings)
    try:
        target = load_handler(settings)
    except LmiError as error:
        logs.flush()
        return report_init_error(settings.runtime_api, error, settings.log_format)
    ending = Ending.within(settings.shutdown_s)
    try:
        return run_loop(lambda: _serve(settings, target, logs, ending), settings)
    finally:
        logs.close(ending.flush_s)


async def _serve(settings: Settings, target: Target, logs: LogPipeline, ending: Ending) -> int:
    set_worker_loop(current_home())

    def placed(slot: Slot) -> None:
        # One request a process: here the variable that X-Ray and botocore read is right.
        trace_id = slot.invocation.trace_id
        if trace_id is None:
            os.environ.pop("_X_AMZN_TRACE_ID", None)
        else:
            os.environ["_X_AMZN_TRACE_ID"] = trace_id

    def left(slot: Slot) -> None:
        flush_request(slot.request)
        # The environment freezes with the answer, and lines still queued with it.
        logs.flush(_FREEZE_S)

    dispatcher = Dispatcher(
        HttpRuntimeApi(settings.runtime_api),
        make_entry(target),
        DispatchOptions(limit=1, spare=0, repoll_first=False),
        ledger=_NoLedger(),
        hooks=DispatchHooks(placed=placed, left=left),
    )
    code = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_stop_on_signal, dispatcher, ending.drain_s)
        try:
            await dispatcher.run()
        except RuntimeApiUnreachable as error:
            logger.critical("The Runtime API is gone: %s", error)
            code = 1
        # While signals are still received: the next one must not end the hooks.
        await close_down(ending.hooks_s)
        tasks.cancel_scope.cancel()
    return code


async def _stop_on_signal(dispatcher: Dispatcher, drain_s: float) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            await dispatcher.drain(drain_s)


class _NoLedger:
    """Nobody is there to answer should this process die; the platform does."""

    def begin(self, invocation: Invocation) -> int:
        return 0

    def end(self, ticket: int) -> None:
        pass
