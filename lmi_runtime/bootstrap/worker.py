"""One worker process: its loop, its orders, its end."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable

import anyio

from lmi_runtime._sync import current_home
from lmi_runtime.bootstrap.closing import Ending, close_down
from lmi_runtime.bootstrap.loading import load_handler
from lmi_runtime.bootstrap.loops import run_loop
from lmi_runtime.caches.fixed_names import watch_fixed_names
from lmi_runtime.context import WorkerFacts, set_worker, set_worker_loop
from lmi_runtime.dispatch import Dispatcher, DispatchHooks, DispatchOptions, Slot
from lmi_runtime.errors import LmiError, RuntimeApiUnreachable
from lmi_runtime.handlers import Target, init_failure_of, make_entry
from lmi_runtime.logs import flush_request, install
from lmi_runtime.model import Mode, Settings
from lmi_runtime.rapi import HttpRuntimeApi
from lmi_runtime.supervisor import EXIT_STOPPED, EXIT_UNREACHABLE, Order, WorkerLink

__all__ = ["STALL_THRESHOLD_S", "worker_body"]

logger = logging.getLogger("lmi_runtime.bootstrap")

STALL_THRESHOLD_S = 1.0
"""Seconds a handler may block the event loop before it is named in the log."""


def worker_body(
    settings: Settings, mode: Mode, preloaded: Target | None, *, processes: int
) -> Callable[[WorkerLink], int]:
    """
    What a worker does with its life.

    Args:
        settings: The environment's.
        mode: Decides how many invocations share the process.
        preloaded: The handler, when it was imported before the fork.
        processes: Workers of this environment, this one included.
    """

    def body(link: WorkerLink) -> int:
        # Before the import, which may open things: the handler's own limit is not known yet.
        spare = dispatch_options(mode, link.slots, None).spare
        set_worker(WorkerFacts(slots=link.slots, spare=spare, processes=processes))
        if link.slots > 1:
            watch_fixed_names()
        logs = install(settings)
        try:
            target = preloaded or load_handler(settings)
        except (LmiError, KeyboardInterrupt) as error:
            logs.flush()  # the supervisor kills next
            link.send_init_failed(init_failure_of(error))
            return 1
        ending = Ending.within(settings.shutdown_s)
        worker = _Worker(settings, mode, target, link, ending)
        try:
            return run_loop(worker.run, settings)
        finally:
            logs.close(ending.flush_s)

    return body


class _Worker:
    """Thread safety: loop thread only."""

    def __init__(
        self,
        settings: Settings,
        mode: Mode,
        target: Target,
        link: WorkerLink,
        ending: Ending,
    ) -> None:
        self._settings = settings
        self._options = dispatch_options(mode, link.slots, target.spec.max_per_vcpu)
        self._target = target
        self._link = link
        self._ending = ending
        self._dispatcher: Dispatcher

    async def run(self) -> int:
        """Serve until told to stop; returns the exit code."""
        set_worker_loop(current_home())
        self._dispatcher = Dispatcher(
            HttpRuntimeApi(self._settings.runtime_api),
            make_entry(self._target),
            self._options,
            ledger=self._link.ledger,
            hooks=DispatchHooks(left=_flush_prints),
        )
        self._link.send_ready()
        code = EXIT_STOPPED
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as serving:
                tasks.start_soon(self._stop_on_signal, serving)
                if await self._order() is Order.GO:
                    tasks.start_soon(self._stop_on_order)
                    try:
                        await self._dispatcher.run()
                    except RuntimeApiUnreachable as error:
                        logger.critical("The Runtime API is gone: %s", error)
                        code = EXIT_UNREACHABLE
            # While signals are still received: the next one must not end the hooks.
            await close_down(self._ending.hooks_s)
            tasks.cancel_scope.cancel()
        return code

    async def _stop_on_order(self) -> None:
        # Whatever comes after GO, the end of the link included, means the end of this worker.
        await self._order()
        await self._dispatcher.drain(self._ending.drain_s)

    async def _stop_on_signal(self, serving: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                await self._dispatcher.drain(self._ending.drain_s)
                serving.cancel()

    async def _order(self) -> Order:
        while (order := self._link.receive()) is None:
            await anyio.wait_readable(self._link.fileno())
        return order


def dispatch_options(mode: Mode, slots: int, max_per_vcpu: int | None) -> DispatchOptions:
    """
    How a worker with so many slots admits invocations.

    A worker goes on polling while its slots are taken, as far as its handler's own limit lets
    it: AWS's platform keeps to the environment's concurrency by itself, and an answer may reach
    it before a poll that was written first. Events that one worker has in excess, a sibling is
    short of. In process mode there is no excess: nothing may share the process.
    """
    if mode is Mode.PROCESS:
        return DispatchOptions(limit=slots, spare=0, stall_threshold_s=STALL_THRESHOLD_S)
    room = slots if max_per_vcpu is None else min(slots, max_per_vcpu - slots)
    return DispatchOptions(
        limit=slots,
        spare=max(1, room),
        strict=room < 1,
        stall_threshold_s=STALL_THRESHOLD_S,
    )


def _flush_prints(slot: Slot) -> None:
    flush_request(slot.request)
