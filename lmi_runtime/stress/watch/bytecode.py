"""Which instructions of a code object matter to other threads, and what they touch."""

from __future__ import annotations

import enum
import itertools
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import CodeType

from lmi_runtime.stress.watch.describe import Described, Describer
from lmi_runtime.stress.watch.expressions import Touch
from lmi_runtime.stress.watch.opcodes import (
    CALLS,
    ENDS,
    Instruction,
    decode,
    first_traced,
    lines_of,
)
from lmi_runtime.stress.watch.symbolic import stacks_of

__all__ = ["CodeMap", "Site", "SiteKind", "analyse"]


class SiteKind(enum.Enum):
    """Why an instruction has a site; the first that fits."""

    ACCESS = "access"
    """It reads or writes something."""

    CALL = "call"
    """It calls something."""

    LOOP = "loop"
    """It jumps back."""

    ENTER = "enter"
    """The function or generator begins or goes on here."""

    AFTER = "after"
    """A call ended just before."""

    LINE = "line"
    """A source line begins here."""


@dataclass(frozen=True, slots=True)
class Site:
    """
    One instruction that matters.

    Attributes:
        number: Unique in the process and the same in every run of it.
        code: The code object first seen; equal ones of the same file share their sites.
        offset: As tracing (3.11) and monitoring (3.12 on) report it: of the first prefix.
        line: From 1, or the function's first line if there is none.
        label: The same on every Python: ``load self.n``, ``call self.free.pop``, ``loop``.
        kind: Why it is here.
        touches: State it touches, to be found out by `accesses.resolve`.
        shared: A thread of a free-threaded build may be preempted before it.
        gil_before: A build with the GIL may switch just before it: a function begins, a
            generator goes on, a loop jumps back.
        gil_call: A build with the GIL may switch after it; take that switch at the next site
            of this frame, which is `after_call`, unless watched code ran in between. If it
            raises there is no switch.
        after_call: The next instruction after a `gil_call`.
        line_start: Control comes here from another source line.
    """

    number: int
    code: CodeType
    offset: int
    line: int
    label: str
    kind: SiteKind
    touches: tuple[Touch, ...] = ()
    shared: bool = False
    gil_before: bool = False
    gil_call: bool = False
    after_call: bool = False
    line_start: bool = False


@dataclass(frozen=True, slots=True)
class CodeMap:
    """
    The sites of one code object.

    Attributes:
        code: The code object first seen.
        sites: By offset; other instructions need no event at all.
    """

    code: CodeType
    sites: Mapping[int, Site]


_numbers = itertools.count()
_maps: dict[tuple[str, str, CodeType], CodeMap] = {}
_by_identity: dict[int, CodeMap] = {}
_alive: dict[int, weakref.ref[CodeType]] = {}


def analyse(code: CodeType) -> CodeMap:
    """
    What matters in `code`. Cached: a module imported again for another run gets the same sites.

    Thread safety: any thread; whoever comes first for a code object decides its numbers.
    """
    known = _by_identity.get(id(code))
    if known is None:
        key = (code.co_filename, code.co_qualname, code)
        known = _maps.get(key) or _maps.setdefault(key, _analyse(code))
        # A plain C callable, since it runs wherever the last reference happens to go.
        _alive[id(code)] = weakref.ref(code, partial(_by_identity.pop, id(code)))
        _by_identity[id(code)] = known
    return known


def _analyse(code: CodeType) -> CodeMap:
    instructions = decode(code)
    start = first_traced(instructions)
    described = _described(code, instructions, start)
    marks = _gil_marks(instructions, start)
    lines = lines_of(code)
    starts = _line_starts(instructions, start, lines)
    sites: dict[int, Site] = {}
    for index in range(start, len(instructions)):
        what = described[index]
        mark = marks.get(index)
        begins = index in starts
        if what is None and mark is None and not begins:
            continue
        offset = instructions[index].offset
        line = lines.get(offset, code.co_firstlineno)
        site = _site(code, offset, line, what, mark)
        sites[offset] = replace(site, line_start=True) if begins else site
    return CodeMap(code, sites)


@dataclass(slots=True)
class _Mark:
    """What a build with the GIL does at one instruction."""

    enters: str = ""
    loops: bool = False
    follows: int = -1


def _site(
    code: CodeType, offset: int, line: int, what: Described | None, mark: _Mark | None
) -> Site:
    mark = mark or _Mark()
    if what is not None:
        kind, label = SiteKind.CALL if what.call else SiteKind.ACCESS, what.label
    elif mark.loops:
        kind, label = SiteKind.LOOP, "loop"
    elif mark.enters:
        kind, label = SiteKind.ENTER, mark.enters
    elif mark.follows >= 0:
        kind, label = SiteKind.AFTER, "after call"
    else:
        kind, label = SiteKind.LINE, "line"
    return Site(
        number=next(_numbers),
        code=code,
        offset=offset,
        line=line,
        label=label,
        kind=kind,
        touches=what.touches if what else (),
        shared=bool(what and what.shared),
        gil_before=bool(mark.enters) or mark.loops,
        gil_call=bool(what and what.call),
        after_call=mark.follows >= 0,
    )


def _described(
    code: CodeType, instructions: list[Instruction], start: int
) -> list[Described | None]:
    describer = Describer(code)
    stacks = stacks_of(code, instructions)
    return [
        describer.describe(instruction, stack) if stack is not None and index >= start else None
        for index, (instruction, stack) in enumerate(zip(instructions, stacks, strict=True))
    ]


def _gil_marks(instructions: list[Instruction], start: int) -> dict[int, _Mark]:
    marks: dict[int, _Mark] = {}
    if start:
        marks[start] = _Mark(enters="enter")
    for index in range(start, len(instructions)):
        instruction = instructions[index]
        if instruction.name in CALLS:
            marks.setdefault(index + 1, _Mark()).follows = index
        elif instruction.name == "RESUME" and instruction.arg & 3 == 1:
            # RESUME itself is never reported. Going on after an await is no switch point.
            marks.setdefault(index + 1, _Mark()).enters = "resume"
        elif instruction.backward and instruction.name != "JUMP_BACKWARD_NO_INTERRUPT":
            marks.setdefault(index, _Mark()).loops = True
    return marks


def _line_starts(instructions: list[Instruction], start: int, lines: dict[int, int]) -> set[int]:
    """
    Indexes of those that are come to from another line.

    The head of a loop is one, seen from the loop's end; so it counts on the way in as well.
    """
    indexes = {instruction.offset: index for index, instruction in enumerate(instructions)}
    starts = {start}
    for index in range(start, len(instructions)):
        instruction = instructions[index]
        line = lines.get(instruction.offset)
        if instruction.name not in ENDS:
            _come_to(index + 1, line, instructions, lines, starts)
        if instruction.target >= 0:
            _come_to(indexes[instruction.target], line, instructions, lines, starts)
    return starts


def _come_to(
    index: int,
    before: int | None,
    instructions: list[Instruction],
    lines: dict[int, int],
    starts: set[int],
) -> None:
    if index < len(instructions):
        line = lines.get(instructions[index].offset)
        if line is not None and line != before:
            starts.add(index)
