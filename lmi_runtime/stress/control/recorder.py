"""
Writes down one run, step by step, and makes facts of it afterwards.

While the run goes on only what would be lost is taken: numbers, values, references. Steps are
made at the end.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Sequence
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from lmi_runtime.stress.control.naming import name_of
from lmi_runtime.stress.model import Access, ActorInfo, Place, Step, StepKind
from lmi_runtime.stress.program import Touched

if TYPE_CHECKING:
    from lmi_runtime.stress.control.actors import Actor
    from lmi_runtime.stress.control.scheduler import Scheduler
    from lmi_runtime.stress.watch.bytecode import Site

__all__ = ["Recorder"]

_Raw = tuple[
    int, StepKind, CodeType | None, int, str, tuple[Access, ...], Any, str, bool, float, int
]


class Recorder:
    """
    The memory of one run.

    Args:
        wants: Whether code is the user's.
        resolve: Finds what a site touches in a live frame; returns accesses and the objects to
            be kept alive, so that no identity is used twice.

    Thread safety: as the scheduler; the holder of the baton writes.
    """

    def __init__(
        self,
        wants: Callable[[CodeType], bool],
        resolve: Callable[[Site, FrameType], Sequence[tuple[Access, Any]]],
    ) -> None:
        self.run: Scheduler
        self._wants = wants
        self._resolve = resolve
        self._raw: list[_Raw] = []
        self._kept: dict[int, Any] = {}
        self._deviates = False
        # Sites of decisions, by what was touched between them and the actor's next decision.
        self._touched: dict[tuple[int, str | None], dict[int, set[tuple[int, bool]]]] = {}
        self.touches: list[Touched] = []
        self.people: dict[int, ActorInfo] = {}

    # ------------------------------------------------------------------ while it runs

    def site(self, actor: Actor, site: Site, frame: FrameType) -> None:
        """User code is about to do what `site` says."""
        found = self._resolve(site, frame)
        accesses = []
        for access, owner in found:
            accesses.append(access)
            self._kept[id(owner)] = owner
            where = (access.location.owner, access.location.key)
            by_actor = self._touched.setdefault(where, {})
            who = by_actor.setdefault(actor.speaker, set())
            writes = access.mode != "read"
            who.add((actor.last_site, writes))
            self.touches.append(Touched(len(self.run.decisions), actor.speaker, where, writes))
        self._add(
            actor, "run", site.code, site.line, site.label, tuple(accesses), None, "", site.offset
        )

    def event(
        self,
        actor: Actor,
        kind: StepKind,
        thing: Any = None,
        *,
        detail: str = "",
        frame: FrameType | None = None,
    ) -> None:
        """Something happened at a primitive; `frame` says where, if it is not the caller's."""
        if frame is None:
            frame = sys._getframe(1)
        while frame is not None and not self._wants(frame.f_code):
            frame = frame.f_back
        if thing is not None:
            self._kept[id(thing)] = thing
        code, line = (None, 0) if frame is None else (frame.f_code, frame.f_lineno)
        self._add(actor, kind, code, line, "", (), thing, detail)

    def spawn(self, parent: Actor, child: Actor) -> None:
        """`parent` starts a thread."""
        self.person(child.number, child.name, "thread", child.invocation)
        self.event(parent, "spawn", child.thread)

    def person(self, number: int, name: str, kind: Any, invocation: int | None) -> None:
        """Somebody who will take steps."""
        self.people[number] = ActorInfo(number, name, kind, invocation)

    def start(self, actor: Actor) -> None:
        """The actor has its first turn."""
        if not actor.is_loop:
            self._add(actor, "start", None, 0, "", (), actor.thread, "")

    def end(self, actor: Actor) -> None:
        """The actor is done."""
        if actor.is_loop:
            return
        detail = "" if actor.error is None else f"{type(actor.error).__name__}: {actor.error}"
        self._add(actor, "end", None, 0, "", (), actor.thread, detail[:200])

    def deviation(self, actor: Actor, site: int) -> None:
        """The next step is somebody else's, because a schedule said so."""
        self._deviates = True

    def _add(
        self,
        actor: Actor,
        kind: StepKind,
        code: CodeType | None,
        line: int,
        label: str,
        accesses: tuple[Access, ...],
        thing: Any,
        detail: str,
        offset: int = -1,
    ) -> None:
        if self.run.aborting:
            return  # what happens while everybody unwinds is no part of the story
        deviates, self._deviates = self._deviates, False
        self._raw.append(
            (actor.speaker, kind, code, line, label, accesses, thing, detail, deviates,
             self.run.clock, offset)
        )  # fmt: skip

    # ------------------------------------------------------------------ afterwards

    def hot_sites(self) -> frozenset[int]:
        """Sites before which it matters who goes first: what follows is shared and written."""
        hot: set[int] = set()
        whole: dict[int, dict[int, set[tuple[int, bool]]]] = {}
        for (owner, key), by_actor in self._touched.items():
            if key is None:
                whole[owner] = by_actor
        for (owner, key), by_actor in self._touched.items():
            together = by_actor
            if key is not None and owner in whole:
                together = {
                    who: by_actor.get(who, set()) | whole[owner].get(who, set())
                    for who in {*by_actor, *whole[owner]}
                }
            if len(together) > 1 and any(w for uses in together.values() for _, w in uses):
                hot |= {site for uses in together.values() for site, _ in uses}
        return frozenset(hot)

    def steps(self) -> tuple[Step, ...]:
        """All that happened; what one actor did in a row on one line is one step."""
        steps: list[Step] = []
        for raw in self._raw:
            last = steps[-1] if steps else None
            step = self._step(len(steps), raw)
            if last is not None and _same_line(last, step):
                steps[-1] = _joined(last, step)
            else:
                steps.append(step)
        return tuple(steps)

    def _step(self, index: int, raw: _Raw) -> Step:
        speaker, kind, code, line, label, accesses, thing, detail, deviates, clock, offset = raw
        place = None
        source = ""
        if code is not None:
            place = Place(code.co_filename, line, code.co_qualname, offset, label)
            source = linecache.getline(code.co_filename, line).strip()
        return Step(
            index,
            speaker,
            kind,
            place,
            source,
            accesses,
            "" if thing is None else name_of(thing),
            0 if thing is None else id(thing),
            detail,
            deviates,
            clock,
        )


def _same_line(last: Step, step: Step) -> bool:
    return (
        last.kind == step.kind == "run"
        and last.actor == step.actor
        and not step.deviates
        and last.place is not None
        and step.place is not None
        and (last.place.file, last.place.line, last.place.function)
        == (step.place.file, step.place.line, step.place.function)
    )


def _joined(last: Step, step: Step) -> Step:
    return Step(
        last.index,
        last.actor,
        last.kind,
        last.place,
        last.source,
        last.accesses + step.accesses,
        last.subject,
        last.subject_id,
        last.detail,
        last.deviates,
        last.time_s,
    )
