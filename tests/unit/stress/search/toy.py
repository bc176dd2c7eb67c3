"""A model of the engine: generators take turns, and every `yield` is a switch point."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from lmi_runtime.stress.model import (
    Access,
    ActorInfo,
    Deviation,
    Granularity,
    Location,
    Place,
    Step,
)
from lmi_runtime.stress.program import (
    Chooser,
    Complaint,
    Decision,
    Ended,
    Execution,
    Participant,
    RunOptions,
)

Body = Generator[str, None, None]
State = dict[str, Any]

_sites: dict[tuple[str, int, str], int] = {}


@dataclass
class Toy:
    """
    A program of generators. What they yield is about to happen: ``read x``, ``write x``,
    ``lock L``, ``unlock L``; with ``call`` before it a build with the GIL can switch there, too.
    """

    bodies: Sequence[Callable[[State], Body]]
    wrong: Callable[[State], str | None] = lambda _: None
    name: str = "toy"
    is_loop: bool = False
    start: State = field(default_factory=dict)

    def setup(self) -> State:
        return dict(self.start)

    def participants(self, state: State) -> Sequence[Participant]:
        return [
            Participant(partial(body, state), f"p{number}")
            for number, body in enumerate(self.bodies)
        ]

    def judge(self, state: State, ended: Sequence[Ended], *, serial: bool) -> Sequence[Complaint]:
        wrong = self.wrong(state)
        return [Complaint("invariant", wrong, object_path=wrong)] if wrong else []

    def close(self, state: State) -> None:
        return


@dataclass
class Engine:
    """`execute()` for toys; counts its runs and remembers who went in which order."""

    runs: int = 0
    orders: list[tuple[int, ...]] = field(default_factory=list)
    schedules: list[tuple[Deviation, ...]] = field(default_factory=list)
    options: list[RunOptions] = field(default_factory=list)

    def __call__(self, program: Any, chooser: Chooser, options: RunOptions) -> Execution:
        self.runs += 1
        run = _Run(program, chooser, options)
        execution = run.go()
        self.orders.append(tuple(run.order))
        self.schedules.append(execution.taken)
        self.options.append(options)
        return execution


class _Run:
    def __init__(self, program: Any, chooser: Chooser, options: RunOptions) -> None:
        self.program, self.chooser, self.options = program, chooser, options
        self.state = program.setup()
        self.bodies: list[Body] = [each.call() for each in program.participants(self.state)]
        self.pending: list[str | None] = [""] * len(self.bodies)
        self.ready = list(range(len(self.bodies)))
        self.locks: dict[str, int] = {}
        self.visits: dict[tuple[str, int], int] = {}
        self.result = Execution()
        self.steps: list[Step] = []
        self.order: list[int] = []
        self.places: dict[int, Place] = {}

    def go(self) -> Execution:
        if self.options.serial is not None:
            self.ready = [each for each in self.options.serial if each < len(self.bodies)]
        (self._go_loop if self.program.is_loop else self._go_threads)()
        result = self.result
        if not result.complaints:
            ended = [Ended(finished=each is None) for each in self.pending]
            serial = self.options.serial is not None
            result.complaints = tuple(self.program.judge(self.state, ended, serial=serial))
        result.taken = tuple(
            Deviation(each.kind, each.actor, each.visit, each.chosen)
            for each in result.decisions
            if each.chosen != each.options[0]
        )
        result.ended = tuple(Ended() for _ in self.bodies)
        result.threads = 1 if self.program.is_loop else len(self.bodies)
        if self.options.record:
            kind: Literal["task", "thread"] = "task" if self.program.is_loop else "thread"
            result.actors = tuple(
                ActorInfo(number, f"p{number}", kind) for number in range(len(self.bodies))
            )
            result.steps = tuple(self.steps)
            result.places = self.places
            result.hot = frozenset(
                site for site, place in self.places.items() if place.label[:4] in ("read", "writ")
            )
        return result

    # ------------------------------------------------------------------ threads

    def _go_threads(self) -> None:
        running = -1
        while self.ready:
            running = self._next(running)
            if not self._do(running) and running in self.ready:
                self.ready.remove(running)
        if any(each is not None for each in self.pending):
            self.result.complaints = (Complaint("deadlock", "Deadlock.", object_path="locks"),)

    def _next(self, actor: int) -> int:
        """Who takes the next step; `actor` took the last."""
        if actor not in self.ready:
            return self._decide("forced", actor, tuple(self.ready), -1)
        what = self.pending[actor] or ""
        self.result.points += 1
        free = self.options.granularity is not Granularity.GIL
        if not free and not what.startswith("call "):
            return actor
        others = [each for each in self.ready if each != actor]
        return self._decide("preempt", actor, (actor, *others), self._site(actor, what))

    def _do(self, actor: int) -> bool:
        words = (self.pending[actor] or "").removeprefix("call ").split()
        verb, name = words if words else ("", "")
        if verb == "lock":
            if self.locks.setdefault(name, actor) != actor:
                return False
        elif verb == "unlock":
            del self.locks[name]
            for other, what in enumerate(self.pending):
                if what == f"lock {name}" and other not in (*self.ready, actor):
                    self.ready = sorted([*self.ready, other])
        self.order.append(actor)
        self._record(actor, verb, name)
        try:
            self.pending[actor] = next(self.bodies[actor])
        except StopIteration:
            self.pending[actor] = None
            return False
        return True

    # ------------------------------------------------------------------ an event loop

    def _go_loop(self) -> None:
        while self.ready:
            to = self._decide("task", 0, tuple(self.ready), 0)
            self.ready.remove(to)
            self.ready.append(to)
            if not self._do(to):
                self.ready.remove(to)

    # ------------------------------------------------------------------ both

    def _decide(self, kind: Any, actor: int, options: tuple[int, ...], site: int) -> int:
        visit = self.visits.get((kind, actor), 0)
        if len(options) == 1 or self.options.serial is not None:
            return options[0]
        self.visits[kind, actor] = visit + 1
        chosen = self.chooser.choose(kind, actor, visit, options, site)
        if chosen not in options:
            chosen = options[0]
        self.result.decisions.append(Decision(kind, actor, visit, options, chosen, site))
        return chosen

    def _place(self, actor: int, what: str) -> Place:
        frame = self.bodies[actor].gi_frame  # type: ignore[attr-defined]
        code = frame.f_code
        return Place(code.co_filename, frame.f_lineno, code.co_qualname, label=what)

    def _site(self, actor: int, what: str) -> int:
        place = self._place(actor, what)
        site = _sites.setdefault((place.file, place.line, what), len(_sites) + 1)
        self.places[site] = place
        return site

    def _record(self, actor: int, verb: str, name: str) -> None:
        if not self.options.record or not verb:
            return
        place = self._place(actor, f"{verb} {name}")
        accesses: tuple[Access, ...] = ()
        if verb in ("read", "write"):
            accesses = (Access(verb, Location(1, name, name)),)  # type: ignore[arg-type]
        kind = {"lock": "acquire", "unlock": "release"}.get(verb, "run")
        self.steps.append(
            Step(len(self.steps), actor, kind, place, accesses=accesses, subject_id=hash(name))  # type: ignore[arg-type]
        )
