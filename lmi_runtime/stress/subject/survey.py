"""What one invocation after the other shows: references, growth, how far events may be marked."""

from __future__ import annotations

import itertools
import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lmi_runtime.stress.model import Granularity
from lmi_runtime.stress.oracles.leaks import growing, grown
from lmi_runtime.stress.program import Complaint, Execution, RunOptions
from lmi_runtime.stress.search import Scripted
from lmi_runtime.stress.search.facts import Execute
from lmi_runtime.stress.subject.facts import Subject
from lmi_runtime.stress.subject.program import HandlerProgram
from lmi_runtime.stress.subject.stage import Stage
from lmi_runtime.stress.world import Tree

__all__ = ["Survey"]

_MOST_COMPARED = 4
"""Invocations at once for which all serial orders are run: 24 of them."""

_MANY = (60, 300)
"""Invocations after which what is bounded has stopped growing; more only if the last still grew."""

_FIRST_PATIENCE_S = 10.0
"""For runs that may import libraries for the first time."""

_OF_ONE = re.compile(r"result of invocation \d+")
_BY_ITSELF = (
    "running the same invocations in the same order gives another value each time "
    "(datetime.now() and clocks in C code are not under control)"
)
_GROWS = 0.8
_LEVELS = (1, 2, 0)
_Events = tuple[Any, ...]


@dataclass(slots=True)
class Survey:
    """
    Runs without overlap, and what they show.

    Attributes:
        runs: How many there were.
        notes: Sentences for the report.
        uncontrolled: Sentences that make the exploration inconclusive.
        standing: What is wrong with any run.
        rest: State that is the same before and after any number of invocations.

    Thread safety: the thread that explores.
    """

    subject: Subject
    stage: Stage
    execute: Execute
    options: RunOptions
    runs: int = 0
    notes: dict[str, None] = field(default_factory=dict)
    uncontrolled: dict[str, None] = field(default_factory=dict)
    standing: tuple[Complaint, ...] = ()
    rest: dict[str, Tree] = field(default_factory=dict)
    _hangs: bool = False
    _programs: dict[str, HandlerProgram] = field(default_factory=dict)

    # ------------------------------------------------------------------ once

    def begin(self, event: Any) -> bool:
        """
        Look at the handler alone, with one event.

        Returns:
            False if there is no use in going on; `uncontrolled` says why.

        Raises:
            Exception: Whatever the handler's module raises when it is imported.
        """
        program = HandlerProgram(self.subject, self.stage, (event,), 0)
        # The first run imports libraries, and whatever it does may be part of that.
        first = self._serial(program, (0,), _FIRST_PATIENCE_S)
        if first.uncontrolled:
            self.uncontrolled.update(dict.fromkeys(first.uncontrolled))
            return False
        if self.stage.world.stale:
            names = ", ".join(self.stage.world.stale)
            self.notes[f"{names}: cannot be imported anew, so its state outlives a run."] = None
        error = first.ended[0].error if first.ended else None
        if error is not None:
            self._note_error(error)
        # What hangs alone is found at once by the search, and would take for ever here.
        self._hangs = any(not each.finished for each in first.ended)
        if self.subject.mode != "process" and first.ended and not self._hangs:
            self._grow(event)
        return not self.uncontrolled

    def _note_error(self, error: BaseException) -> None:
        text = f"{type(error).__name__}: {error}"
        if _is_from_trio(error):
            self.uncontrolled[
                f"The handler needs trio's event loop: set LMI_BACKEND=trio ({text})."
            ] = None
            return
        self.uncontrolled[
            f"With this event the handler fails even alone, so nothing could be compared: {text}. "
            "Give an event that it accepts."
        ] = None

    def _grow(self, event: Any) -> None:
        """Growth, and what does not change, by one, two and three of the same invocation."""
        empty = self._alike(event, 0)
        readings = [self._alike(event, number) for number in (1, 2, 3)]
        if empty is None or any(each is None for each in readings):
            return
        programs = [each for each in readings if each is not None]
        self.rest = {
            path: tree
            for path, tree in empty.state.items()
            if all(each.state.get(path) == tree for each in programs)
        }
        if self.subject.judges("leak"):
            self._judge_growth(event, [each.sizes for each in programs])

    def _alike(self, event: Any, number: int) -> HandlerProgram | None:
        program = HandlerProgram(
            self.subject, self.stage, (event,) * number, 0, one_tenant=True, measured=True
        )
        done = self._serial(program, tuple(range(number)))
        return None if done.uncontrolled or done.complaints else program

    def _judge_growth(self, event: Any, sizes: Sequence[dict[str, int]]) -> None:
        suspects = {each.path for each in growing(sizes)}
        for many in _MANY:
            if not suspects:
                return
            if many > _MANY[0] and suspects <= {"live threads", "open files and sockets"}:
                break
            program = self._alike(event, many)
            if program is None:
                return
            suspects = {
                path
                for path in suspects
                if program.sizes.get(path, 0) >= _GROWS * _expected(sizes, path, many)
            }
        left = [{path: each.get(path, 0) for path in suspects} for each in sizes]
        self.standing = grown(left)

    # ------------------------------------------------------------------ for each program

    def levels(self, event: Any) -> tuple[int, ...]:
        """How much may be marked without the handler failing, the most telling first."""
        if self.subject.mark == "off" or self._hangs:
            return (0,)
        if callable(self.subject.mark):
            return (1, 0)
        marked: dict[str, int] = {}
        for level in _LEVELS:
            program = HandlerProgram(self.subject, self.stage, (event,), level)
            text = repr(program._deliveries[0].event)
            if text in marked:
                continue
            if level:
                done = self._serial(program, (0,))
                if done.uncontrolled or any(each.error is not None for each in done.ended):
                    continue
            marked[text] = level
        return tuple(marked.values())

    def program(self, events: _Events, level: int) -> HandlerProgram:
        """A program with what its serial runs showed."""
        key = f"{level}:{events!r}"
        program = self._programs.get(key)
        if program is None:
            program = self._programs[key] = HandlerProgram(self.subject, self.stage, events, level)
            self._refer(program, len(events))
        return program

    def _refer(self, program: HandlerProgram, number: int) -> None:
        known = program.known
        known.standing = self.standing
        known.rest = self.rest
        if self.subject.mode == "process" or not self.subject.judges("serial"):
            return
        natural = tuple(range(number))
        if not self._ends(program, natural):
            return
        self._serial(program, natural)
        self._name_mask(program, frozenset(), _BY_ITSELF)
        before = known.references.mask
        program.jitter = True
        try:
            self._serial(program, natural)
        finally:
            program.jitter = False
        self._name_mask(program, before, "it depends on the time")
        if number > _MOST_COMPARED:
            known.references.observations.clear()
            self.notes[
                f"Results of {number} invocations at once were not compared with serial orders: "
                f"that is done for up to {_MOST_COMPARED}."
            ] = None
            return
        for order in itertools.permutations(natural):
            if order != natural and not self._ends(program, order):
                return

    def _ends(self, program: HandlerProgram, order: tuple[int, ...]) -> bool:
        """
        Run one order; if not all end, nothing is compared.

        The search finds at once what hangs without overlap, and each more run of it is slow.
        """
        done = self._serial(program, order)
        if not done.uncontrolled and all(each.finished for each in done.ended):
            return True
        program.known.references.observations.clear()
        return False

    def _name_mask(
        self, program: HandlerProgram, before: frozenset[tuple[str, ...]], why: str
    ) -> None:
        for steps in sorted(program.known.references.mask - before):
            path = _OF_ONE.sub("results", "".join(steps))
            self.notes[f"Not compared: {path}; {why}."] = None

    def _serial(
        self, program: HandlerProgram, order: tuple[int, ...], patience_s: float | None = None
    ) -> Execution:
        self.runs += 1
        options = RunOptions(
            granularity=Granularity.GIL,
            include=self.options.include,
            backend=self.options.backend,
            serial=order,
            watchdog_s=patience_s or self.options.watchdog_s,
        )
        return self.execute(program, Scripted(), options)


def _expected(sizes: Sequence[dict[str, int]], path: str, many: int) -> float:
    first, last = sizes[0].get(path, 0), sizes[-1].get(path, 0)
    return first + (last - first) / (len(sizes) - 1) * (many - 1)


def _is_from_trio(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, RuntimeError) and any("/trio/" in each.filename for each in frames)
