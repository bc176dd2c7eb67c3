"""A handler as a program: what one run starts from, and what is said of it when it is over."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from lmi_runtime._sync import is_background
from lmi_runtime.stress.control.active import caller
from lmi_runtime.stress.control.scheduler import Scheduler
from lmi_runtime.stress.events import mark
from lmi_runtime.stress.oracles import environment
from lmi_runtime.stress.oracles.canary import CanarySet, Tokens
from lmi_runtime.stress.oracles.hints import hint
from lmi_runtime.stress.oracles.leaks import Holdings, hold, leaked, left_files
from lmi_runtime.stress.oracles.serial import Observation, SerialReferences, compare, observe
from lmi_runtime.stress.program import Complaint, Ended, Participant
from lmi_runtime.stress.subject.facts import Delivery, Subject
from lmi_runtime.stress.subject.judging import (
    Texts,
    check_invariant,
    holder_of,
    leak_complaint,
    leaks_between_tenants,
    leaks_in_result,
    unsound,
)
from lmi_runtime.stress.subject.stage import Stage, serving, who
from lmi_runtime.stress.tracebacks import traceback_of
from lmi_runtime.stress.world import Reading, Tree, sizes

__all__ = ["HandlerProgram", "Known"]

_SLEEPS = ("_set_result_unless_cancelled",)  # what asyncio.sleep() has called
_JITTER_S = 2.0
_JITTER_PER_READING_S = 0.01


@dataclass(slots=True)
class Known:
    """
    What serial runs showed, before anything overlaps.

    Thread safety: the thread that explores.

    Attributes:
        references: Of each order, and what of them does not repeat.
        rest: State that is the same before and after any number of invocations.
        held: What the process held at the end of serial runs.
        standing: Complaints that hold of any run, such as growth.
        outside: Sentences about what is not under control.
    """

    references: SerialReferences = field(default_factory=SerialReferences)
    rest: dict[str, Tree] = field(default_factory=dict)
    held: list[Holdings] = field(default_factory=list)
    standing: tuple[Complaint, ...] = ()
    outside: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class RunState:
    """One run, from `setup` to `close`. Thread safety: whoever holds the baton."""

    modules: list[ModuleType]
    recording: environment.Recording
    undo: ExitStack
    environ: Mapping[str, str]
    before: Reading
    held: Holdings
    run: Scheduler | None = None
    order: list[int] = field(default_factory=list)
    left: int = 0
    cancelled: list[int] = field(default_factory=list)
    probe_error: BaseException | None = None
    tasks: tuple[str, ...] = ()
    timed_out: bool = False


class HandlerProgram:
    """
    Invocations of a handler that run at once.

    Args:
        subject: The handler.
        stage: The process.
        events: One an invocation, not marked yet.
        level: How much of the events is marked; see `mark`.
        one_tenant: All invocations belong to the tenant of the first.
        measured: Only what is held in the end is of interest.

    Thread safety: of the exploring thread, see `Program`.
    """

    def __init__(
        self,
        subject: Subject,
        stage: Stage,
        events: Sequence[Any],
        level: int,
        *,
        one_tenant: bool = False,
        measured: bool = False,
    ) -> None:
        self.subject = subject
        self.name = f"{subject.name}#{level}"
        self.level = level
        self.known = Known()
        self.measured = measured
        self.jitter = False
        self.last: Observation | None = None
        self.sizes: dict[str, int] = {}
        self.state: dict[str, Tree] = {}
        self._stage = stage
        self._tokens = CanarySet(len(events)).by_invocation()
        self._deliveries = [
            self._delivery(number, event, one_tenant) for number, event in enumerate(events, 1)
        ]
        # Comes after those that were cancelled: somebody else, with the same event.
        more = CanarySet(len(events) + 1).tokens_for(len(events) + 1)
        self._probe = Delivery(more.invocation, events[0] if events else None, more, more.tenant_id)
        self._texts = Texts(self._tokens)
        self._own_names = {
            number: [needle for needle, _ in each.needles()]
            for number, each in self._tokens.items()
        }

    def _delivery(self, number: int, event: Any, one_tenant: bool) -> Delivery:
        tokens = self._tokens[number]
        tenant = self._tokens[1].tenant_id if one_tenant else tokens.tenant_id
        return Delivery(number, _marked(self.subject, event, tokens, self.level), tokens, tenant)

    # ------------------------------------------------------------------ before a run

    def setup(self) -> RunState:
        """See `Program`."""
        undo = ExitStack()
        try:
            stage = self._stage
            stage.output.clear()
            recording = undo.enter_context(environment.recording(who, stage.is_users))
            undo.callback(stage.world.restore)
            modules = [stage.fresh()]
            if self.subject.mode == "process":
                modules += [stage.copy() for _ in self._deliveries[1:]]
            return RunState(
                modules=modules,
                recording=recording,
                undo=undo,
                environ=dict(os.environ),
                before=stage.world.read(),
                held=hold(),
                left=len(self._deliveries),
            )
        except BaseException:
            undo.close()
            raise

    def participants(self, state: RunState) -> Sequence[Participant]:
        """See `Program`."""
        return [
            Participant(
                self._call(state, delivery), f"invocation {delivery.number}", delivery.number
            )
            for delivery in self._deliveries
        ]

    def _call(self, state: RunState, delivery: Delivery) -> Callable[[], Any]:
        modules = state.modules
        module = modules[delivery.number - 1] if len(modules) > 1 else modules[0]
        serve = self.subject.adapt(module, delivery)
        if inspect.iscoroutinefunction(serve):
            return self._task(state, delivery, serve)

        def call() -> Any:
            self._begin(state, delivery)
            return serve()

        return call

    def _begin(self, state: RunState, delivery: Delivery) -> None:
        serving.set(delivery.number)
        state.order.append(delivery.number - 1)
        here = caller()
        if here is None:
            return
        run, actor = here
        state.run = run
        # Drawn by invocation, so that serial orders draw what overlapping runs draw.
        run.chances.pop(actor.speaker, None)
        run.chances[actor.speaker] = random.Random(delivery.number)
        if self.jitter and len(state.order) == 1:
            _shake(run)

    def _task(
        self, state: RunState, delivery: Delivery, serve: Callable[[], Any]
    ) -> Callable[[], Any]:
        def probe() -> Any:
            # Only now: a cancellation is a deadline that passed, and the next one has its own.
            return self.subject.adapt(state.modules[0], self._probe)()

        async def call() -> Any:
            self._begin(state, delivery)
            if not _is_on_asyncio():
                return await _on_trio(state, delivery, serve)
            _watch_timeouts(state)
            try:
                return await serve()
            except asyncio.CancelledError:
                if _was_cancelled():
                    state.cancelled.append(delivery.number)
                raise
            finally:
                state.left -= 1
                if not state.left:
                    await self._wind_up(state, probe)

        return call

    async def _wind_up(self, state: RunState, probe: Callable[[], Any]) -> None:
        """The last to end: if any was cancelled, see whether the next invocation still works."""
        loop: Any = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        loop.cancellable.discard(loop.number_of(task))
        if state.cancelled:
            requests = task.cancelling()
            for _ in range(requests):
                task.uncancel()
            try:
                await probe()
            except Exception as error:
                state.probe_error = error
            except asyncio.CancelledError as error:
                state.probe_error = error
        ours = {f"invocation {each.number}" for each in self._deliveries}
        state.tasks = tuple(
            each.get_name()
            for each in asyncio.all_tasks(loop)
            if each.get_name() not in ours and not is_background(each)
        )

    # ------------------------------------------------------------------ after a run

    def judge(self, state: RunState, ended: Sequence[Ended], *, serial: bool) -> list[Complaint]:
        """See `Program`."""
        subject = self.subject
        found: list[Complaint] = []
        world = self._stage.world
        fingerprint = world.fingerprint() if subject.mode != "process" else {}
        self.state = fingerprint
        after = self._held(state, ended)
        if serial:
            self._learn(state, ended, fingerprint, after)
        if self.measured:
            return []
        deeds = state.recording.deeds
        self.known.outside.update(dict.fromkeys(environment.uncontrolled(deeds), None))
        if subject.judges("isolation"):
            found += self._isolation(state, ended, fingerprint)
        if subject.judges("environment"):
            found += self._environment(state)
        if subject.judges("leak"):
            found += self._leaks(state, after)
        if subject.judges("deadline") and state.cancelled:
            found += self._deadline(state, fingerprint)
        if not serial and not state.cancelled and not state.timed_out:
            found += self._serial(ended, fingerprint)
        if subject.judges("invariant") and subject.invariant is not None:
            found += check_invariant(subject.invariant, state.modules[0])
        return [each for each in found if subject.judges(each.oracle)]

    def _learn(
        self,
        state: RunState,
        ended: Sequence[Ended],
        fingerprint: Mapping[str, Tree],
        after: Holdings,
    ) -> None:
        observation = self._observation(ended, fingerprint)
        self.last = observation
        self.known.references.add(state.order, observation)
        self.known.held.append(after)
        self.sizes = sizes(fingerprint) | {
            "live threads": len(after.threads) - len(state.held.threads),
            "open files and sockets": len(after.descriptors) - len(state.held.descriptors),
        }

    def _observation(self, ended: Sequence[Ended], fingerprint: Mapping[str, Tree]) -> Observation:
        return observe(ended, fingerprint)

    def _serial(self, ended: Sequence[Ended], fingerprint: Mapping[str, Tree]) -> list[Complaint]:
        if self.subject.mode == "process":
            return []
        complaint = compare(self._observation(ended, fingerprint), self.known.references)
        return [] if complaint is None else [complaint]

    def _isolation(
        self, state: RunState, ended: Sequence[Ended], fingerprint: Mapping[str, Tree]
    ) -> list[Complaint]:
        found: list[Complaint] = []
        output = self._stage.output
        for number, end in enumerate(ended, 1):
            leaks = leaks_in_result(self._tokens, number, end)
            leaks += self._texts.leaks(number, output.of(number))
            for leak in leaks[:3]:
                holder = holder_of(fingerprint, self._tokens[leak.owner], leak.kind)
                found.append(leak_complaint(number, leak, holder))
        return [*found, *leaks_between_tenants(fingerprint, self._tokens)]

    def _environment(self, state: RunState) -> list[Complaint]:
        deeds = state.recording.deeds
        found = list(environment.judge_deeds(deeds, tokens=self._own_names, before=state.environ))
        if self.subject.mode == "process":
            return [each for each in found if each.object_path.startswith("/")]
        world = self._stage.world
        said = {each.object_path for each in found}
        changes = environment.judge_changes(world.compare(state.before, world.read()))
        return found + [each for each in changes if each.object_path not in said]

    def _leaks(self, state: RunState, after: Holdings) -> list[Complaint]:
        made = environment.own_files(state.recording.deeds, tokens=self._own_names)
        found = [*self.known.standing, *left_files(made)]
        if state.cancelled:
            # A pool opens as many as run at once; only what is left of cancelled ones tells.
            allowed = tuple(self.known.held) if self.known.held else (after,)
            more = Holdings(
                threads=after.threads,
                descriptors=after.descriptors[len(state.held.descriptors) :],
            )
            least = Holdings(threads=after.threads)
            if not any(len(each.descriptors) > len(state.held.descriptors) for each in allowed):
                found += leaked(least, more, (least,))
        if state.tasks:
            names = ", ".join(state.tasks[:5])
            found.append(
                Complaint(
                    "leak",
                    f"{len(state.tasks)} tasks that nobody waits for outlive their invocation: "
                    f"{names}",
                    hint("leak.task"),
                    "tasks that nobody waits for",
                )
            )
        return found

    def _deadline(self, state: RunState, fingerprint: Mapping[str, Tree]) -> list[Complaint]:
        found = list(unsound(self.known.rest, fingerprint, state.cancelled))
        error = state.probe_error
        if error is not None and not self._fails_alone():
            numbers = ", ".join(map(str, state.cancelled))
            found.append(
                Complaint(
                    "deadline",
                    f"invocation {numbers} was cancelled, and the next one fails: "
                    f"{type(error).__name__}: {error}",
                    hint("deadline"),
                    type(error).__name__,
                    traceback_of(error),
                )
            )
        return found

    def _fails_alone(self) -> bool:
        return any(each.tracebacks for each in self.known.references.observations.values())

    def _held(self, state: RunState, ended: Sequence[Ended]) -> Holdings:
        """What is held when all have ended; what only a traceback holds is let go first."""
        threads = () if state.run is None else tuple(
            actor.name
            for actor in state.run.actors
            if not actor.is_participant and not actor.finished
        )  # fmt: skip
        after = hold()
        if len(after.descriptors) > len(state.held.descriptors):
            gc.collect()
            after = hold()
        return Holdings(threads=(*state.held.threads, *threads), descriptors=after.descriptors)

    def close(self, state: RunState) -> None:
        """See `Program`."""
        state.undo.close()
        self._stage.remove_files(state.recording.deeds)


def _marked(subject: Subject, event: Any, tokens: Tokens, level: int) -> Any:
    if not level or subject.mark == "off":
        return event
    if callable(subject.mark):
        return subject.mark(event, tokens.text)
    return mark(event, tokens, level=level)


def _shake(run: Any) -> None:
    """Let the clock move with every reading: what differs then depends on it."""
    real = run.now

    def now(actor: Any = None) -> float:
        if actor is not None:
            run.advance(run.clock + _JITTER_PER_READING_S)
        return float(real(actor))

    run.advance(run.clock + _JITTER_S)
    run.now = now


def _watch_timeouts(state: RunState) -> None:
    """
    Note when a timeout fires.

    A schedule may let time pass while somebody is ready, as a slow machine does. Sleeps that end
    then are as good as any order; an invocation that gives up then is not wrong.
    """
    loop: Any = asyncio.get_running_loop()
    real = loop.call_at
    if "call_at" in vars(loop):
        return

    def call_at(when: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:
        if getattr(callback, "__name__", "") in _SLEEPS:
            return real(when, callback, *args, context=context)

        def fire() -> None:
            state.timed_out = True
            callback(*args)

        fire.is_time_out = getattr(callback, "is_time_out", False)  # type: ignore[attr-defined]
        return real(when, fire, context=context)

    loop.call_at = call_at


async def _on_trio(state: RunState, delivery: Delivery, serve: Callable[[], Any]) -> Any:
    """No probe comes after: nothing more can be awaited where a scope has been cancelled."""
    import trio  # optional; it is what runs this

    try:
        return await serve()
    except trio.Cancelled:
        state.cancelled.append(delivery.number)
        raise


def _is_on_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _was_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
