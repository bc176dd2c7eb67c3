"""
One load a key at a time, for threads and the tasks of any number of event loops.

A flight is a load under way. It belongs to nobody who waits for it: it runs in a context of its
own, who stops waiting leaves it, the last one to leave cancels it, and if what runs it is gone,
the loop that was closed or the thread that was interrupted, one of the waiting begins again.
A waiter looks, under the lock, before it parks; being unparked only means to look again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextvars import Context
from functools import partial
from typing import Any, Final

from lmi_runtime import _sync
from lmi_runtime._lazy import ahead
from lmi_runtime.caches.flight import (
    Ask,
    Flight,
    Waiter,
    enter,
    hold,
    inside,
    is_async,
    refuse,
    rouse_locked,
    run_within,
)
from lmi_runtime.caches.model import Outcome
from lmi_runtime.errors import LoadCancelled, LoadTimeout

__all__ = ["Ask", "Flight", "Flights", "Waiter", "inside"]

PATROL_S: Final = 1.0
"""Seconds after which those who wait for a load on another loop look whether that still runs."""


_LEAD: Final = object()


class Flights:
    """
    The loads of one cache.

    Args:
        lock: The cache's; held for every function here whose name ends in ``_locked``.
        prepare: From what a loader returned to an outcome. Called as a part of the load.
        failed: From what it raised to an outcome; must not raise.
        land_locked: Told how a load ended, and whether its value may be kept; what it returns
            is let go of when the lock is free again.

    Thread safety: from any thread and loop. No code of a user runs under the lock.
    """

    def __init__(
        self,
        lock: Any,
        prepare: Callable[[Ask, Any], Outcome],
        failed: Callable[[Ask, Exception], Outcome],
        land_locked: Callable[[Flight, Outcome, bool], object],
    ) -> None:
        ahead("inspect")
        self.lock = lock
        self._prepare = prepare
        self._failed = failed
        self._land_locked = land_locked
        # All guarded by lock.
        self.table: dict[Hashable, Flight] = {}
        self.joined = 0
        self.cancelled = 0
        self.taken_over = 0
        self.timeouts = 0

    # What the cache asks for.

    def board_locked(self, waiter: Waiter) -> None:
        """Put `waiter` aboard the flight for its key; without one, it leads a new one."""
        flight = self.table.get(waiter.ask.key)
        if flight is None:
            flight = self.table[waiter.ask.key] = Flight(waiter.ask, waiter.home)
            waiter.leads = True
        else:
            self.joined += 1
            waiter.mark = flight.ticks
        flight.waiters[waiter] = None
        flight.aboard += 1
        waiter.flight = flight

    def begin_locked(self, ask: Ask, home: _sync.Home | None) -> Flight | None:
        """A new flight that nobody waits for; None if there is one for its key."""
        flight = self.table.get(ask.key)
        if flight is not None and not self._lost_locked(flight, home):
            return None
        flight = self.table[ask.key] = Flight(ask, home, background=True)
        return flight

    def drop_locked(self, key: Hashable) -> None:
        """Who comes from now on gets nothing of the load for `key` under way."""
        self.table.pop(key, None)

    def drop_all_locked(self) -> None:
        """The same for all keys."""
        self.table.clear()

    def drop_tag_locked(self, tag: str) -> None:
        """The same for all values that have `tag`, as far as that is known before they come."""
        for flight in list(self.table.values()):
            flight.ticks += 1
            flight.marks[tag] = flight.ticks
            if tag in flight.ask.tags:
                self.drop_locked(flight.ask.key)

    # Threads.

    def ride(self, waiter: Waiter) -> Outcome:
        """
        Run the load, or wait for it.

        Raises:
            LoadTimeout: The caller's deadline passed.
            ReentrantLoad: The load is waiting for what the calling code is part of.
        """
        flight, token, within = waiter.flight, object(), inside()
        try:
            hold(within, token, flight)
            return self._ride(flight, waiter)
        finally:
            self._leave(waiter)
            if within is not None:
                within.edges.pop(token, None)

    def _ride(self, flight: Flight, waiter: Waiter) -> Outcome:
        if not waiter.leads:
            if waiter.home is not None:
                return self._fly_alone(waiter)
            outcome = self._wait(waiter)
            if outcome is not None:
                return outcome
        self._fly(flight, waiter)
        return flight.landed()

    def _wait(self, waiter: Waiter) -> Outcome | None:
        """The outcome; None if this thread is to run the load."""
        while True:
            step = self._step(waiter, _sync.ThreadParker)
            if isinstance(step, Outcome):
                return step
            if step is _LEAD:
                return None
            parker, nap_s = step
            parker.park(nap_s)

    def run(self, flight: Flight) -> None:
        """Run the load of a flight that nobody waits for, in this thread."""
        self._fly(flight, None)

    def call_off(self, flight: Flight) -> None:
        """A flight that nobody waited for cannot begin; who waits for it by now is to run it."""
        self._abandon(flight, flight.runner)

    def _fly(self, flight: Flight, waiter: Waiter | None) -> None:
        runner = flight.runner
        ask = flight.ask if waiter is None else waiter.ask
        try:
            self._land(flight, Context().run(run_within, flight, self._produce, ask))
        except BaseException:
            # Not an error of the load but of this thread, as a KeyboardInterrupt is.
            if waiter is not None:
                with self.lock:
                    flight.waiters.pop(waiter, None)
            self._abandon(flight, runner)
            raise

    def _fly_alone(self, waiter: Waiter) -> Outcome:
        # To wait here would block an event loop, maybe the very one that runs the load.
        alone, token = Flight(waiter.ask, None), object()
        alone.aboard = 1
        waiter.flight.edges[token] = alone  # so that it cannot ask for its own key, either
        try:
            self._fly(alone, waiter)
            return alone.landed()
        finally:
            waiter.flight.edges.pop(token, None)
            alone.outcome = None

    def _produce(self, ask: Ask) -> Outcome:
        try:
            result = ask.loader()
            refuse(result)
            return self._prepare(ask, result)
        except Exception as error:
            return self._failed(ask, error)

    # Tasks.

    async def aride(self, waiter: Waiter) -> Outcome:
        """The same as `ride` in a task; whoever leads starts a task that is nobody's."""
        flight, token, within = waiter.flight, object(), inside()
        try:
            hold(within, token, flight)
            if waiter.leads:
                self._launch(flight, waiter)
            while True:
                step = self._step(waiter, _sync.async_parker)
                if isinstance(step, Outcome):
                    return step
                if step is _LEAD:
                    self._launch(flight, waiter)
                    continue
                parker, nap_s = step
                await parker.park(nap_s)
        finally:
            self._leave(waiter)
            if within is not None:
                within.edges.pop(token, None)

    def launch(self, flight: Flight) -> None:
        """Run the load of a flight that nobody waits for, in a task of the running loop."""
        self._launch(flight, None)

    def _launch(self, flight: Flight, waiter: Waiter | None) -> None:
        runner = flight.runner
        try:
            task = _sync.spawn_task(lambda: self._afly(flight, runner, waiter), name="lmi-load")
        except BaseException:
            self._abandon(flight, runner)
            raise
        with self.lock:
            if flight.runner is runner:
                flight.task = task

    async def _afly(self, flight: Flight, runner: object, waiter: Waiter | None) -> None:
        ask = flight.ask if waiter is None else waiter.ask
        try:
            enter(flight)
            self._land(flight, await self._aproduce(ask))
        except (KeyboardInterrupt, SystemExit) as error:
            told = self._tell(flight, waiter, error)
            self._abandon(flight, runner)
            if not told:
                raise
        except BaseException:
            # Cancelled: by the last one who left, or because the loop ends.
            self._abandon(flight, runner)
            raise

    async def _aproduce(self, ask: Ask) -> Outcome:
        import asyncio

        try:
            return await self._aload(ask)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled this task: something that the loader waited for was cancelled.
            cancelled = LoadCancelled("What the loader waited for was cancelled.")
            cancelled.__cause__ = error
            return self._failed(ask, cancelled)
        except Exception as error:
            return self._failed(ask, error)

    async def _aload(self, ask: Ask) -> Outcome:
        if is_async(ask.loader):
            return self._prepare(ask, await ask.loader())
        made = await _sync.offload(partial(run_within, inside(), self._call, ask))
        return made if isinstance(made, Outcome) else self._prepare(ask, await made)

    def _call(self, ask: Ask) -> Any:
        """In a thread: what is awaitable goes back to the task, all else is prepared here."""
        from inspect import isawaitable

        result = ask.loader()
        return result if isawaitable(result) else self._prepare(ask, result)

    def _tell(self, flight: Flight, waiter: Waiter | None, error: BaseException) -> bool:
        with self.lock:
            if waiter is None or waiter not in flight.waiters:
                return False
            waiter.verdict = error
            del flight.waiters[waiter]
            rouse_locked(waiter)
            return True

    # What both do.

    def _step(self, waiter: Waiter, new_parker: Callable[[], Any]) -> Any:
        """What `waiter` does next: an outcome, `_LEAD`, or a parker and for how long to park."""
        flight = waiter.flight
        with self.lock:
            if waiter.verdict is not None:
                raise waiter.verdict
            if flight.outcome is not None:
                return flight.outcome
            if flight.candidate is waiter or self._lost_locked(flight, waiter.home):
                self._take_over_locked(flight, waiter)
                return _LEAD
            nap_s = self._nap_s_locked(waiter)
            waiter.parker = new_parker()
            return waiter.parker, nap_s

    def _nap_s_locked(self, waiter: Waiter) -> float | None:
        nap_s = None
        if waiter.ask.deadline_s is not None:
            nap_s = waiter.ask.deadline_s - _sync.monotonic()
            if nap_s <= 0:
                self.timeouts += 1
                raise LoadTimeout("The value was not loaded in time.")
        if waiter.flight.home in (None, waiter.home):
            return nap_s
        return PATROL_S if nap_s is None else min(nap_s, PATROL_S)

    def _lost_locked(self, flight: Flight, home: _sync.Home | None) -> bool:
        """Whether the loop that runs the flight, which is not `home`, does not run any more."""
        where = flight.home
        return where is not None and where is not home and not _runs(where)

    def _take_over_locked(self, flight: Flight, waiter: Waiter) -> None:
        self.taken_over += 1
        flight.candidate = flight.task = None
        flight.runner = object()
        flight.home = waiter.home
        # They may have to watch another loop now.
        for other in flight.waiters:
            rouse_locked(other)

    def _land(self, flight: Flight, outcome: Outcome) -> None:
        with self.lock:
            garbage = self._settle_locked(flight, outcome)
        del garbage

    def _settle_locked(self, flight: Flight, outcome: Outcome) -> object:
        if flight.over:
            return None
        flight.outcome = outcome if flight.aboard else None
        flight.over = True
        flight.task = None
        current = self.table.get(flight.ask.key) is flight
        if current:
            del self.table[flight.ask.key]
        for waiter in flight.waiters:
            rouse_locked(waiter)
        flight.waiters = {}
        return self._land_locked(
            flight, outcome, current and not outcome.tags & flight.marks.keys()
        )

    def _abandon(self, flight: Flight, runner: object) -> None:
        with self.lock:
            if not flight.over and flight.runner is runner:
                self._promote_locked(flight)

    def _promote_locked(self, flight: Flight) -> None:
        """Nobody runs the flight: who has waited longest is to."""
        flight.runner = flight.task = flight.candidate = None
        for waiter in list(flight.waiters):
            if waiter.parker is None or rouse_locked(waiter):
                flight.candidate = waiter
                flight.home = waiter.home
                return
            del flight.waiters[waiter]
        self._give_up_locked(flight)

    def _give_up_locked(self, flight: Flight) -> None:
        flight.over = True
        if self.table.get(flight.ask.key) is flight:
            del self.table[flight.ask.key]

    def _leave(self, waiter: Waiter) -> None:
        flight, task = waiter.flight, None
        with self.lock:
            flight.waiters.pop(waiter, None)
            flight.aboard -= 1
            if flight.over:
                if not flight.aboard:
                    flight.outcome = None
                return
            if flight.candidate is waiter:
                self._promote_locked(flight)
            elif not flight.waiters and not flight.background and flight.task is not None:
                self.cancelled += 1
                task = flight.task
                self._give_up_locked(flight)
        if task is not None:
            task.cancel()


def _runs(home: Any) -> bool:
    """Whether the loop `home` runs, so that its tasks get on."""
    running = getattr(home, "is_running", None)  # trio's has none, and runs until it is closed
    return _sync.is_alive(home) if running is None else bool(running())
