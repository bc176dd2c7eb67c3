"""Instructions of CPython 3.11 to 3.14, decoded just far enough that they look alike."""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType

__all__ = [
    "CALLS",
    "ENDS",
    "METHOD_BIT",
    "PAIRS",
    "Instruction",
    "decode",
    "first_traced",
    "handlers",
    "lines_of",
    "names_of_slots",
]

_CACHE = dis.opmap["CACHE"]
_EXTENDED_ARG = dis.EXTENDED_ARG
_JUMPS = frozenset(dis.hasjrel)
_NAMES = tuple(dis.opname)

METHOD_BIT = sys.version_info >= (3, 12)
"""LOAD_ATTR's lowest bit says that a call follows; 3.11 has LOAD_METHOD."""

CALLS = frozenset({"CALL", "CALL_KW", "CALL_FUNCTION_EX", "BEFORE_WITH"})
"""
After these a build with the GIL may switch. BEFORE_WITH stands for the CALL that 3.14 has in
its place: a switch that is possible on one of them counts on all.
"""


ENDS = frozenset(
    {"RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE", "JUMP_FORWARD"}
    | {"JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"}
)
"""The next instruction does not follow these."""

PAIRS = frozenset({"LOAD_FAST_LOAD_FAST", "LOAD_FAST_BORROW_LOAD_FAST_BORROW"})
"""Two loads in one: the indexes are in the argument's upper and lower four bits."""


@dataclass(slots=True)
class Instruction:
    """
    One instruction with its prefixes and caches.

    Attributes:
        offset: Of its first EXTENDED_ARG, if any, else its own. Tracing on 3.11 reports only
            the first prefix; monitoring from 3.12 on reports prefixes and instruction, so the
            first is the one offset that is right everywhere.
        name: Of the opcode, never an adaptive or instrumented form.
        opcode: For `dis.stack_effect`.
        arg: With all prefixes.
        following: Offset of the next instruction.
        target: Where it may jump, or -1.
    """

    offset: int
    name: str
    opcode: int
    arg: int
    following: int
    target: int = -1

    @property
    def backward(self) -> bool:
        """Whether it may jump back."""
        return 0 <= self.target <= self.offset


def decode(code: CodeType) -> list[Instruction]:
    """All instructions in order."""
    found = list(_units(code.co_code))
    end = len(code.co_code)
    for instruction, after in zip(found, [*(i.offset for i in found[1:]), end], strict=True):
        instruction.following = after
        if instruction.opcode in _JUMPS:
            back = "BACKWARD" in instruction.name
            # END_ASYNC_FOR names the loop's SEND, to be monitored; it does not go there.
            if instruction.name != "END_ASYNC_FOR":
                instruction.target = after + 2 * (-instruction.arg if back else instruction.arg)
    return found


def _units(raw: bytes) -> Iterator[Instruction]:
    start = -1
    high = 0
    for offset in range(0, len(raw), 2):
        opcode = raw[offset]
        if opcode == _CACHE:
            continue
        if start < 0:
            start = offset
        high = high << 8 | raw[offset + 1]
        if opcode == _EXTENDED_ARG:
            continue
        yield Instruction(start, _NAMES[opcode], opcode, high, offset + 2)
        start, high = -1, 0


def first_traced(instructions: list[Instruction]) -> int:
    """Index of the first instruction that is reported: nothing up to RESUME is."""
    for index, instruction in enumerate(instructions):
        if instruction.name == "RESUME":
            return index + 1
    return 0


def lines_of(code: CodeType) -> dict[int, int]:
    """Source line by offset, where there is one."""
    lines: dict[int, int] = {}
    for start, end, line in code.co_lines():
        if line is not None:
            lines.update(dict.fromkeys(range(start, end, 2), line))
    return lines


def names_of_slots(code: CodeType) -> tuple[str, ...]:
    """Names by the index that LOAD_FAST and LOAD_DEREF use."""
    arguments = set(code.co_varnames)
    cells = (name for name in code.co_cellvars if name not in arguments)
    return (*code.co_varnames, *cells, *code.co_freevars)


def handlers(code: CodeType) -> Iterator[tuple[int, int, int, int, bool]]:
    """Of the exception table: start, end (excluded), target, stack depth, pushes the offset."""
    numbers = _varints(code.co_exceptiontable)
    for start in numbers:
        length, target, packed = next(numbers), next(numbers), next(numbers)
        yield 2 * start, 2 * (start + length), 2 * target, packed >> 1, bool(packed & 1)


def _varints(raw: bytes) -> Iterator[int]:
    value = 0
    for byte in raw:
        value = value << 6 | byte & 63
        if not byte & 64:
            yield value
            value = 0
