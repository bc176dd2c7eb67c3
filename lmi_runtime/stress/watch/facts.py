"""Which names of a source file are ever bound again: what never changes needs no switch point."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import CodeType

from lmi_runtime.stress.watch.opcodes import PAIRS, Instruction, decode, names_of_slots

__all__ = ["Facts", "facts_of"]


@dataclass(slots=True)
class Facts:
    """
    What a file's own code does to names. Not to be changed once made.

    Attributes:
        globals: Bound by functions with ``global``, or as an attribute of some module.
        cells: Bound by a nested function, or by the owner when a function has it already.
        attributes: Bound as an attribute of anything.
        functions: Module-level functions that nothing decorates: their bodies are watched.
    """

    globals: set[str] = field(default_factory=set)
    cells: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)


def facts_of(code: CodeType) -> Facts:
    """
    Of the file that holds `code`, or of `code` alone if the file cannot be read.

    Thread safety: pure but for reading the file; two threads at worst do it twice.
    """
    return _facts_of_file(code.co_filename) or _gather(code)


@cache
def _facts_of_file(filename: str) -> Facts | None:
    try:
        source = importlib.util.decode_source(Path(filename).read_bytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = compile(source, filename, "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError):
        return None
    return _gather(module)


def _gather(root: CodeType) -> Facts:
    facts = Facts()
    for code in _family(root):
        instructions = decode(code)
        _look_at_names(code, instructions, facts)
        _look_at_cells(code, instructions, facts)
        if code.co_name == "<module>":
            _look_at_functions(code, instructions, facts)
    facts.globals |= facts.attributes
    return facts


def _family(root: CodeType) -> Iterator[CodeType]:
    yield root
    for constant in root.co_consts:
        if isinstance(constant, CodeType):
            yield from _family(constant)


def _look_at_names(code: CodeType, instructions: list[Instruction], facts: Facts) -> None:
    for instruction in instructions:
        if instruction.name in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            facts.globals.add(code.co_names[instruction.arg])
        elif instruction.name in ("STORE_ATTR", "DELETE_ATTR"):
            facts.attributes.add(code.co_names[instruction.arg])


def _look_at_cells(code: CodeType, instructions: list[Instruction], facts: Facts) -> None:
    if not code.co_cellvars and not code.co_freevars:
        return
    slots = names_of_slots(code)
    loops = any(instruction.backward for instruction in instructions)
    given_away: set[str] = set()
    stored: set[str] = set()
    for instruction in instructions:
        if instruction.name in ("LOAD_CLOSURE", "LOAD_FAST", "LOAD_FAST_BORROW"):
            given_away.add(slots[instruction.arg])
        elif instruction.name in PAIRS:
            given_away |= {slots[instruction.arg >> 4], slots[instruction.arg & 15]}
        elif instruction.name in ("STORE_DEREF", "DELETE_DEREF"):
            name = slots[instruction.arg]
            stored.add(name)
            if name in code.co_freevars or name in given_away:
                facts.cells.add(name)
    if loops:
        # Round the loop, what was given away below is stored above.
        facts.cells |= stored & given_away


def _look_at_functions(code: CodeType, instructions: list[Instruction], facts: Facts) -> None:
    bound: dict[str, int] = {}
    plain: set[str] = set()
    before = ""
    for instruction in instructions:
        if instruction.name == "STORE_NAME":
            name = code.co_names[instruction.arg]
            bound[name] = bound.get(name, 0) + 1
            if before in ("MAKE_FUNCTION", "SET_FUNCTION_ATTRIBUTE"):
                plain.add(name)
        before = instruction.name
    facts.functions |= {name for name in plain if bound[name] == 1}
