"""What is on the stack before each instruction, as far as it can be known without running."""

from __future__ import annotations

import dis
from collections.abc import Callable, Iterator
from types import CodeType
from typing import TypeAlias

from lmi_runtime.stress.watch.expressions import (
    Attr,
    Const,
    Deref,
    Expr,
    Fresh,
    Global,
    Item,
    Local,
    Method,
    Null,
    Unknown,
    View,
    mentions,
    text,
)
from lmi_runtime.stress.watch.opcodes import (
    ENDS,
    METHOD_BIT,
    PAIRS,
    Instruction,
    handlers,
    names_of_slots,
)

__all__ = ["SUBSCRIPT", "Call", "Stack", "call_of", "stacks_of"]

Stack: TypeAlias = tuple[Expr, ...]

SUBSCRIPT = 26
"""BINARY_OP's argument for ``[]``, since 3.14."""

_SPECIAL = ("__enter__", "__exit__", "__aenter__", "__aexit__")
_VIEWS = frozenset({"enumerate", "iter", "reversed", "zip"})
_COPIES = frozenset(
    {
        "abs",
        "bool",
        "bytes",
        "dict",
        "float",
        "frozenset",
        "hash",
        "id",
        "int",
        "isinstance",
        "len",
        "list",
        "object",
        "ord",
        "range",
        "repr",
        "round",
        "set",
        "sorted",
        "str",
        "tuple",
        "type",
    }
)
_NOT_KEPT = {
    "BINARY_SLICE": 3,
    "BUILD_TEMPLATE": 2,
    "CALL_INTRINSIC_2": 2,
    "CHECK_EG_MATCH": 2,
    "CLEANUP_THROW": 3,
    "COMPARE_OP": 2,
    "CONTAINS_OP": 2,
    "END_SEND": 2,
    "FORMAT_WITH_SPEC": 2,
    "GET_ANEXT": 0,
    "GET_LEN": 0,
    "IMPORT_FROM": 0,
    "IMPORT_NAME": 2,
    "IS_OP": 2,
    "LOAD_FROM_DICT_OR_DEREF": 1,
    "LOAD_FROM_DICT_OR_GLOBALS": 1,
    "MATCH_CLASS": 3,
    "PREP_RERAISE_STAR": 2,
    "SEND": 2,
    "SET_FUNCTION_ATTRIBUTE": 2,
    "WITH_EXCEPT_START": 0,
}
"""How many values are gone where that does not follow from the net effect and one result."""


class Call:
    """
    The operands of a call, wherever this Python keeps them.

    Attributes:
        callee: What is called; a `Method` if it was loaded as one.
        args: Positional ones, as far as they are known.
        popped: How many values it takes off the stack.
    """

    __slots__ = ("args", "callee", "popped")

    def __init__(self, callee: Expr, args: Stack, popped: int) -> None:
        self.callee = callee
        self.args = args
        self.popped = popped


def call_of(instruction: Instruction, stack: Stack) -> Call:
    """Of a CALL, CALL_KW or CALL_FUNCTION_EX."""
    if instruction.name == "CALL_FUNCTION_EX":
        popped = 1 - dis.stack_effect(instruction.opcode, instruction.arg)
        return Call(_callee(stack[-popped:][:2]), (), popped)
    keywords = instruction.name == "CALL_KW"
    count = instruction.arg
    popped = count + 2 + keywords
    args = stack[len(stack) - count - keywords : len(stack) - keywords]
    return Call(_callee(stack[-popped:][:2]), args, popped)


def _callee(slots: Stack) -> Expr:
    first, second = slots
    return second if isinstance(first, Null) else first


def stacks_of(code: CodeType, instructions: list[Instruction]) -> list[Stack | None]:
    """
    The stack before each instruction; None where no way leads.

    Where ways with different stacks meet, what differs is `Unknown`.
    """
    return _Simulation(code, instructions).run()


class _Simulation:
    def __init__(self, code: CodeType, instructions: list[Instruction]) -> None:
        self._code = code
        self._slots = names_of_slots(code)
        self._instructions = instructions
        self._index = {ins.offset: number for number, ins in enumerate(instructions)}
        self._before: list[Stack | None] = [None] * len(instructions)
        self._handlers = list(handlers(code))
        self._cells = frozenset((*code.co_cellvars, *code.co_freevars))

    def run(self) -> list[Stack | None]:
        waiting = [0]
        self._before[0] = ()
        while waiting:
            index = waiting.pop()
            stack = self._before[index]
            assert stack is not None
            for offset, after in self._ways_on(self._instructions[index], stack):
                target = self._index.get(offset)
                if target is not None and self._merge(target, after):
                    waiting.append(target)
        return self._before

    def _ways_on(self, ins: Instruction, stack: Stack) -> Iterator[tuple[int, Stack]]:
        for start, end, target, depth, with_offset in self._handlers:
            if start <= ins.offset < end:
                yield target, (*stack[:depth], *(Fresh(),) * (1 + with_offset))
        if ins.target >= 0:
            yield ins.target, self._after(ins, stack, jump=True)
        if ins.name not in ENDS:
            yield ins.following, self._after(ins, stack, jump=False)

    def _merge(self, index: int, stack: Stack) -> bool:
        known = self._before[index]
        if known is None:
            self._before[index] = stack
            return True
        merged = tuple(a if a == b else Unknown() for a, b in zip(known, stack, strict=False))
        self._before[index] = merged
        return merged != known

    def _after(self, ins: Instruction, stack: Stack, *, jump: bool) -> Stack:
        special = _EFFECTS.get(ins.name)
        if special is not None:
            return special(self, ins, stack, jump)
        effect = dis.stack_effect(
            ins.opcode, ins.arg if ins.opcode >= dis.HAVE_ARGUMENT else None, jump=jump
        )
        gone = _NOT_KEPT.get(ins.name)
        if gone is None:
            made = 0 if effect < 0 and not ins.name.startswith(("BUILD_", "MAKE_", "BINARY")) else 1
            if effect == 0 and ins.name.startswith(_UNARY):
                return (*stack[:-1], Fresh())
            if effect == 0 and not ins.name.startswith("BUILD_"):
                return stack
            gone = max(0, made - effect)
        kept = stack[: len(stack) - gone]
        return (*kept, *(_result(ins),) * (gone + effect))

    # ------------------------------------------------------------------ loads

    def _load_fast(self, ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        return (*stack, self._local(ins.arg))

    def _load_pair(self, ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        return (*stack, self._local(ins.arg >> 4), self._local(ins.arg & 15))

    def _local(self, slot: int) -> Expr:
        name = self._slots[slot]
        # Since 3.13 LOAD_FAST also loads the cell itself, for a closure.
        return Fresh() if name in self._cells else Local(name)

    def _load_deref(self, ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        return (*stack, Deref(self._slots[ins.arg]))

    def _load_const(self, ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        value = self._code.co_consts[ins.arg]
        return (*stack, _constant(value))

    def _load_small_int(self, ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        return (*stack, _constant(ins.arg))

    def _load_global(self, ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        loaded = Global(self._code.co_names[ins.arg >> 1])
        if not ins.arg & 1:
            return (*stack, loaded)
        # Up to 3.12 the empty slot is below the callable, from 3.13 on above; either will do.
        return (*stack, Null(), loaded)

    def _load_name(self, ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        return (*stack, Global(self._code.co_names[ins.arg]))

    def _load_attr(self, ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        name = self._code.co_names[ins.arg >> METHOD_BIT]
        if METHOD_BIT and ins.arg & 1:
            return (*stack[:-1], Method(stack[-1], name), Fresh("self"))
        return (*stack[:-1], Attr(stack[-1], name))

    def _load_method(self, ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        return (*stack[:-1], Method(stack[-1], self._code.co_names[ins.arg]), Fresh("self"))

    def _load_super_attr(self, ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        loaded = Method(Unknown("super()"), self._code.co_names[ins.arg >> 2])
        return (*stack[:-3], loaded, Fresh("self")) if ins.arg & 1 else (*stack[:-3], loaded)

    def _load_special(self, ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        return (*stack[:-1], Method(stack[-1], _SPECIAL[ins.arg]), Fresh("self"))

    def _before_with(self, _ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        return (*stack[:-1], Method(stack[-1], "__exit__"), Unknown())

    def _before_async_with(self, _ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        return (*stack[:-1], Method(stack[-1], "__aexit__"), Unknown())

    def _subscript(self, ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        if ins.name == "BINARY_OP" and ins.arg != SUBSCRIPT:
            return (*stack[:-2], _computed(stack[-2], stack[-1]))
        return (*stack[:-2], Item(stack[-2], stack[-1]))

    # ------------------------------------------------------------------ stores

    def _store_fast(self, ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        return _forget(stack[:-1], Local(self._slots[ins.arg]))

    def _store_pair(self, ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        kept = _forget(stack[:-2], Local(self._slots[ins.arg >> 4]))
        return _forget(kept, Local(self._slots[ins.arg & 15]))

    def _store_load(self, ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        kept = _forget(stack[:-1], Local(self._slots[ins.arg >> 4]))
        return (*kept, self._local(ins.arg & 15))

    def _load_and_clear(self, ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        return (*_forget(stack, Local(self._slots[ins.arg])), Fresh())

    def _store_deref(self, ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        return _forget(stack[:-1], Deref(self._slots[ins.arg]))

    def _store_global(self, ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        return _forget(stack[:-1], Global(self._code.co_names[ins.arg]))

    # ------------------------------------------------------------------ the stack itself

    def _nothing(self, _ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        return stack

    def _push_null(self, _ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        return (*stack, Null())

    def _copy(self, ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        return (*stack, stack[-ins.arg])

    def _swap(self, ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        values = list(stack)
        values[-1], values[-ins.arg] = values[-ins.arg], values[-1]
        return tuple(values)

    def _jump_or_pop(self, _ins: Instruction, stack: Stack, jump: bool) -> Stack:
        return stack if jump else stack[:-1]

    # ------------------------------------------------------------------ iteration and calls

    def _get_iter(self, _ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        return (*stack[:-1], _view(stack[-1]))

    def _for_iter(self, ins: Instruction, stack: Stack, jump: bool) -> Stack:
        if not jump:
            return (*stack, Unknown())
        effect = dis.stack_effect(ins.opcode, ins.arg, jump=True)
        return (*stack, *(Fresh(),) * effect) if effect >= 0 else stack[:effect]

    def _call(self, ins: Instruction, stack: Stack, _jump: bool) -> Stack:
        call = call_of(ins, stack)
        return (*stack[: len(stack) - call.popped], _returned(call))


_UNARY = (
    "ASYNC_GEN_WRAP",
    "CALL_INTRINSIC_1",
    "CHECK_EXC_MATCH",
    "CONVERT_VALUE",
    "FORMAT_",
    "GET_AITER",
    "GET_AWAITABLE",
    "GET_YIELD_FROM_ITER",
    "LIST_TO_TUPLE",
    "TO_BOOL",
    "UNARY_",
    "YIELD_VALUE",
)

_EFFECTS: dict[str, Callable[[_Simulation, Instruction, Stack, bool], Stack]] = {
    "BEFORE_ASYNC_WITH": _Simulation._before_async_with,
    "BEFORE_WITH": _Simulation._before_with,
    "BINARY_OP": _Simulation._subscript,
    "BINARY_SUBSCR": _Simulation._subscript,
    "CALL": _Simulation._call,
    "CALL_FUNCTION_EX": _Simulation._call,
    "CALL_KW": _Simulation._call,
    "COPY": _Simulation._copy,
    "FOR_ITER": _Simulation._for_iter,
    "GET_ITER": _Simulation._get_iter,
    "JUMP_IF_FALSE_OR_POP": _Simulation._jump_or_pop,
    "JUMP_IF_TRUE_OR_POP": _Simulation._jump_or_pop,
    "LOAD_ATTR": _Simulation._load_attr,
    "LOAD_CLASSDEREF": _Simulation._load_deref,
    "LOAD_CONST": _Simulation._load_const,
    "LOAD_DEREF": _Simulation._load_deref,
    "LOAD_FAST": _Simulation._load_fast,
    "LOAD_FAST_AND_CLEAR": _Simulation._load_and_clear,
    "LOAD_FAST_BORROW": _Simulation._load_fast,
    "LOAD_FAST_CHECK": _Simulation._load_fast,
    "LOAD_GLOBAL": _Simulation._load_global,
    "LOAD_METHOD": _Simulation._load_method,
    "LOAD_NAME": _Simulation._load_name,
    "LOAD_SMALL_INT": _Simulation._load_small_int,
    "LOAD_SPECIAL": _Simulation._load_special,
    "LOAD_SUPER_ATTR": _Simulation._load_super_attr,
    "PRECALL": _Simulation._nothing,
    "PUSH_NULL": _Simulation._push_null,
    "STORE_DEREF": _Simulation._store_deref,
    "STORE_FAST": _Simulation._store_fast,
    "STORE_FAST_LOAD_FAST": _Simulation._store_load,
    "STORE_FAST_STORE_FAST": _Simulation._store_pair,
    "STORE_GLOBAL": _Simulation._store_global,
    "SWAP": _Simulation._swap,
    **dict.fromkeys(PAIRS, _Simulation._load_pair),
}


def _constant(value: object) -> Expr:
    if isinstance(value, slice):
        return Fresh("...")
    shown = repr(value) if isinstance(value, (int, float, str, bytes, tuple, type(None))) else "..."
    return Const(value, shown if len(shown) <= 40 else "...")


def _forget(stack: Stack, variable: Local | Global | Deref) -> Stack:
    if not any(mentions(value, variable) for value in stack):
        return stack
    return tuple(Unknown(text(v)) if mentions(v, variable) else v for v in stack)


def _view(iterable: Expr) -> Expr:
    return iterable if isinstance(iterable, (Fresh, View, Const)) else View(iterable)


def _computed(left: Expr, right: Expr) -> Expr:
    plain = isinstance(left, (Const, Fresh)) and isinstance(right, (Const, Fresh))
    return Fresh() if plain else Unknown()


def _result(ins: Instruction) -> Expr:
    if ins.name == "BUILD_SLICE":
        return Fresh("...")
    made = ins.name.startswith(("BUILD_", "COMPARE", "CONTAINS", "IS_OP", "MAKE_", "FORMAT"))
    return Fresh() if made else Unknown()


def _returned(call: Call) -> Expr:
    match call.callee:
        case Global(name) if name in _VIEWS and call.args:
            return _view(call.args[0])
        case Method(base, "items" | "keys" | "values") if not call.args:
            return _view(base)
        case Global(name) if name in _COPIES:
            return Fresh(f"{name}()")
        case callee:
            return Unknown(f"{text(callee)}()")
