"""One run of a program under one schedule."""

from __future__ import annotations

import functools
import gc
import importlib
import inspect
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any

from lmi_runtime.stress.control import trio_host
from lmi_runtime.stress.control.active import Stage, own_anew, put_active, put_stage
from lmi_runtime.stress.control.actors import Actor
from lmi_runtime.stress.control.host import LoopHost
from lmi_runtime.stress.control.locks import count_anew
from lmi_runtime.stress.control.patches import controlled, replace_late
from lmi_runtime.stress.control.recorder import Recorder
from lmi_runtime.stress.control.scheduler import Scheduler
from lmi_runtime.stress.control.sites import place_of
from lmi_runtime.stress.control.threads import launch, restart_counters
from lmi_runtime.stress.control.tracing import Tracer, catch_up, site_of, tracer
from lmi_runtime.stress.control.trio_host import TrioHost
from lmi_runtime.stress.control.watchdog import Watchdog
from lmi_runtime.stress.model import Place
from lmi_runtime.stress.program import (
    Chooser,
    Complaint,
    Decision,
    Ended,
    Execution,
    Participant,
    Program,
    RunOptions,
)
from lmi_runtime.stress.tracebacks import traceback_of
from lmi_runtime.stress.watch.accesses import resolve
from lmi_runtime.stress.watch.scope import Scope

__all__ = ["execute"]

_COLLECT_EVERY = 200
_COLLECT_ALL_EVERY = 4_000
_runs = 0  # exploring thread only
_tracer: Tracer | None = None
_scopes: dict[tuple[str, ...], Callable[[CodeType], bool]] = {}


def execute(program: Program, chooser: Chooser, options: RunOptions) -> Execution:
    """
    Run `program` once, from a fresh state, as `chooser` says.

    Returns:
        What happened. The same choices give the same run.

    Thread safety: one at a time in a process; blocks until the run is over, or until nothing
    has moved for `RunOptions.watchdog_s`.
    """
    with controlled():
        if options.backend == "trio" and not trio_host.inside():
            importlib.import_module("trio")
        replace_late()
        put_stage(Stage(0.0, seed=-1))
        count_anew()
        try:
            state = program.setup()
            try:
                return _run(program, state, chooser, options)
            finally:
                program.close(state)
        finally:
            put_stage(None)
            own_anew()


def _run(program: Program, state: Any, chooser: Chooser, options: RunOptions) -> Execution:
    wants = _wants(options.include)
    recorder = Recorder(wants, resolve) if options.record else None
    run = Scheduler(chooser, options, recorder)
    if recorder is not None:
        recorder.run = run
    cast = _Cast(run, list(program.participants(state)))
    watchdog = Watchdog(options.watchdog_s, wants)
    tracing = _the_tracer()
    if recorder is None and cast.is_only_tasks:
        # Tasks go on at awaits alone: bytecode matters when a thread comes to touch it, too.
        run.on_second_actor.append(functools.partial(_trace, run, wants, tracing))
    else:
        tracing.begin(run, wants)
        run.enter_thread, run.leave_thread = tracing.enter, tracing.leave
    _collect()
    restart_counters()
    gc_was_on = gc.isenabled()
    gc.disable()  # a finaliser would run wherever the collector happens to strike
    put_stage(None)
    put_active(run)
    try:
        cast.launch()
        run.run(watchdog)
    finally:
        put_active(None)
        if run.leave_thread == tracing.leave:
            tracing.finish()
        if gc_was_on:
            gc.enable()
    ended = cast.ended()
    complaints = list(_own_complaints(run))
    stuck = bool(run.uncontrolled)
    put_stage(Stage(run.clock, seed=-2))
    if not complaints and not stuck:
        complaints += program.judge(state, ended, serial=options.serial is not None)
    execution = _execution(run, recorder, complaints, ended)
    run.give_back()
    return execution


def _trace(run: Scheduler, wants: Callable[[CodeType], bool], tracing: Tracer) -> None:
    """In the middle of a run; called by the only actor, which is starting another one."""
    tracing.begin(run, wants)
    run.enter_thread, run.leave_thread = tracing.enter, tracing.leave
    tracing.enter()
    catch_up()


class _Cast:
    """The participants, and the actors that play them."""

    def __init__(self, run: Scheduler, participants: Sequence[Participant]) -> None:
        self._run = run
        self._participants = participants
        self._actors: list[Actor | None] = []
        self._loop: LoopHost | TrioHost | None = None
        self._loop_actor: Actor | None = None
        self._kinds = [inspect.iscoroutinefunction(each.call) for each in participants]
        self.is_only_tasks = all(self._kinds)

    def launch(self) -> None:
        coroutines = []
        calls = []
        for participant, is_coroutine in zip(self._participants, self._kinds, strict=True):
            if is_coroutine:
                coroutines.append(participant)
                self._actors.append(None)
                continue
            actor = self._run.add(participant.name)
            actor.is_participant = True
            actor.invocation = participant.invocation
            self._actors.append(actor)
            calls.append((actor, participant.call))
            if self._run.recorder is not None:
                self._run.recorder.person(
                    actor.number, participant.name, "thread", participant.invocation
                )
        if coroutines:
            self._loop_actor = self._run.add("event loop")
            self._loop = _host(self._run, self._loop_actor, coroutines)
            calls.append((self._loop_actor, self._loop.main))
        serial = self._run.options.serial
        if serial is not None:
            order = [self._actors[index] for index in serial if index < len(self._actors)]
            threads = [actor for actor in order if actor is not None]
            self._run.turns.line_up(threads + ([self._loop_actor] if self._loop_actor else []))
        for actor, call in calls:
            launch(self._run, actor, call)

    def ended(self) -> tuple[Ended, ...]:
        """How each participant ended, in their order."""
        host = self._loop_actor
        if host is not None and host.error is not None:
            self._run.uncontrolled.append(
                f"The event loop ended with {type(host.error).__name__}: {host.error}."
            )
        of_tasks = iter(() if self._loop is None else self._loop.ended())
        return tuple(
            next(of_tasks) if actor is None else Ended(actor.result, actor.error, actor.finished)
            for actor in self._actors
        )


def _host(run: Scheduler, actor: Actor, participants: Sequence[Participant]) -> LoopHost | TrioHost:
    actor.is_loop = True
    actor.is_participant = True
    if run.recorder is not None:
        run.recorder.person(actor.number, actor.name, "loop", None)
    if run.options.backend == "trio":
        return TrioHost(run, actor, participants)
    return LoopHost(run, actor, participants)


def _own_complaints(run: Scheduler) -> Sequence[Complaint]:
    if run.deadlock is not None and not run.uncontrolled:
        return [run.deadlock]
    if run.livelocked is not None:
        return [
            Complaint(
                "livelock",
                f"{run.livelocked.name} goes round in circles: {run.points} switch points passed "
                "and nobody made progress.",
                "Wait for what should change (an Event, a Condition) instead of asking for it.",
            )
        ]
    return [
        Complaint(
            "exception",
            f"{_whose(actor)} {type(error).__name__}: {error}",
            traceback=traceback_of(error),
        )
        for actor, error in run.thread_errors
    ]


def _whose(actor: Actor) -> str:
    if actor.is_loop:
        return "a callback of the event loop raised"
    return f"{actor.name} ended with"


def _execution(
    run: Scheduler, recorder: Recorder | None, complaints: list[Complaint], ended: tuple[Ended, ...]
) -> Execution:
    result = Execution(
        complaints=tuple(complaints),
        decisions=[Decision._make(decision) for decision in run.decisions],
        taken=run.taken(),
        ended=ended,
        points=run.points,
        uncontrolled=tuple(run.uncontrolled),
        threads=run.thread_count,
    )
    if recorder is not None:
        result.actors = tuple(recorder.people[number] for number in sorted(recorder.people))
        result.steps = recorder.steps()
        result.hot = recorder.hot_sites()
        result.touches = tuple(recorder.touches)
        sites = {decision.site for decision in result.decisions}
        result.places = {site: place for site in sites if (place := _place(site)) is not None}
    return result


def _place(number: int) -> Place | None:
    known = place_of(number)
    if known is not None:
        return known
    site = site_of(number)
    if site is None:
        return None
    code = site.code
    return Place(code.co_filename, site.line, code.co_qualname, site.offset, site.label)


def _wants(include: tuple[str, ...]) -> Callable[[CodeType], bool]:
    wants = _scopes.get(include)
    if wants is None:
        wants = _scopes[include] = Scope(include).wants
    return wants


def _the_tracer() -> Tracer:
    global _tracer
    if _tracer is None:
        _tracer = tracer()
    return _tracer


def _collect() -> None:
    global _runs
    _runs += 1
    if _runs % _COLLECT_EVERY == 0:
        # What a run leaves is young; looking through all there is costs as much as ten runs.
        gc.collect(1 if _runs % _COLLECT_ALL_EVERY else 2)
