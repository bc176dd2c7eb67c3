"""What one instruction does to state that threads may share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import TypeAlias

from lmi_runtime.stress.watch.expressions import (
    Const,
    Deref,
    Expr,
    Fresh,
    Global,
    Item,
    Local,
    Method,
    Mode,
    Touch,
    Unknown,
    View,
    text,
)
from lmi_runtime.stress.watch.facts import facts_of
from lmi_runtime.stress.watch.opcodes import METHOD_BIT, Instruction, names_of_slots
from lmi_runtime.stress.watch.symbolic import SUBSCRIPT, Stack, call_of

__all__ = ["Described", "Describer"]

_SYMBOLS = ("+", "&", "//", "<<", "@", "*", "%", "|", "**", ">>", "-", "/", "^")
_SCALARS = (bool, int, float, complex, str, bytes, type(None))
_READERS = frozenset(
    {
        "all",
        "any",
        "bool",
        "bytes",
        "dict",
        "frozenset",
        "len",
        "list",
        "max",
        "min",
        "next",
        "repr",
        "set",
        "sorted",
        "str",
        "sum",
        "tuple",
    }
)
_HARMLESS = frozenset(
    {
        "callable",
        "classmethod",
        "complex",
        "enumerate",
        "float",
        "id",
        "int",
        "isinstance",
        "issubclass",
        "iter",
        "object",
        "ord",
        "property",
        "range",
        "reversed",
        "staticmethod",
        "super",
        "type",
        "zip",
    }
)


@dataclass(frozen=True, slots=True)
class Described:
    """
    An instruction that matters.

    Attributes:
        label: What it does, in words.
        touches: What it touches.
        shared: Another thread may notice whether it comes before or after.
        call: A build with the GIL may switch after it.
    """

    label: str
    touches: tuple[Touch, ...] = ()
    shared: bool = True
    call: bool = False


class Describer:
    """
    Describes the instructions of one code object.

    Left out are loads of what the file never binds again, methods about to be called, and
    arithmetic with constants: nothing another thread does changes what they give.
    """

    def __init__(self, code: CodeType) -> None:
        self._names = code.co_names
        self._slots = names_of_slots(code)
        self._facts = facts_of(code)

    def describe(self, instruction: Instruction, stack: Stack) -> Described | None:
        """None if nobody else can tell when it happens."""
        about = _ABOUT.get(instruction.name)
        return None if about is None else about(self, instruction, stack)

    # ------------------------------------------------------------------ attributes and items

    def _load_attr(self, ins: Instruction, stack: Stack) -> Described | None:
        name = self._names[ins.arg >> METHOD_BIT]
        if METHOD_BIT and ins.arg & 1:
            return self._load_callable(stack[-1], name)
        return _attribute("load", "read", stack[-1], name)

    def _load_method(self, ins: Instruction, stack: Stack) -> Described | None:
        return self._load_callable(stack[-1], self._names[ins.arg])

    def _load_callable(self, base: Expr, name: str) -> Described | None:
        # A callable in an attribute that somebody binds is state; a method is not.
        if name not in self._facts.attributes:
            return None
        return _attribute("load", "read", base, name)

    def _store_attr(self, ins: Instruction, stack: Stack) -> Described | None:
        name = self._names[ins.arg]
        return _attribute("store", "write", stack[-1], name, stack[-2])

    def _delete_attr(self, ins: Instruction, stack: Stack) -> Described | None:
        return _attribute("delete", "write", stack[-1], self._names[ins.arg])

    def _load_item(self, _ins: Instruction, stack: Stack) -> Described | None:
        return _item("load", "read", stack[-2], stack[-1])

    def _store_item(self, _ins: Instruction, stack: Stack) -> Described | None:
        return _item("store", "write", stack[-2], stack[-1], stack[-3])

    def _delete_item(self, _ins: Instruction, stack: Stack) -> Described | None:
        return _item("delete", "write", stack[-2], stack[-1])

    def _load_slice(self, _ins: Instruction, stack: Stack) -> Described | None:
        return _item("load", "read", stack[-3], Fresh("..."))

    def _store_slice(self, _ins: Instruction, stack: Stack) -> Described | None:
        return _item("store", "write", stack[-3], Fresh("..."))

    def _contains(self, _ins: Instruction, stack: Stack) -> Described | None:
        key, base = stack[-2:]
        if isinstance(base, (Const, Fresh)):
            return None
        touch = Touch("contains", "read", base, key=key)
        return Described(f"find {text(key)} in {text(base)}", (touch,))

    # ------------------------------------------------------------------ variables

    def _load_global(self, ins: Instruction, _stack: Stack) -> Described | None:
        return self._global("load", "read", self._names[ins.arg >> 1])

    def _store_global(self, ins: Instruction, stack: Stack) -> Described | None:
        return self._global("store", "write", self._names[ins.arg], stack[-1])

    def _delete_global(self, ins: Instruction, _stack: Stack) -> Described | None:
        return self._global("delete", "write", self._names[ins.arg])

    def _global(
        self, verb: str, mode: Mode, name: str, value: Expr | None = None
    ) -> Described | None:
        if name not in self._facts.globals:
            return None
        return Described(f"{verb} {name}", (Touch("global", mode, name=name, value=value),))

    def _load_cell(self, ins: Instruction, _stack: Stack) -> Described | None:
        return self._cell("load", "read", self._slots[ins.arg])

    def _store_cell(self, ins: Instruction, stack: Stack) -> Described | None:
        return self._cell("store", "write", self._slots[ins.arg], stack[-1])

    def _delete_cell(self, ins: Instruction, _stack: Stack) -> Described | None:
        return self._cell("delete", "write", self._slots[ins.arg])

    def _cell(
        self, verb: str, mode: Mode, name: str, value: Expr | None = None
    ) -> Described | None:
        if name not in self._facts.cells:
            return None
        return Described(f"{verb} {name}", (Touch("cell", mode, name=name, value=value),))

    # ------------------------------------------------------------------ whole objects

    def _binary(self, ins: Instruction, stack: Stack) -> Described | None:
        if ins.arg == SUBSCRIPT:
            return self._load_item(ins, stack)
        left, right = stack[-2:]
        symbol = _SYMBOLS[ins.arg % len(_SYMBOLS)]
        if _plain(left, right) or (symbol not in "*%" and _scalar(left, right)):
            return None
        if ins.arg < len(_SYMBOLS):
            return Described(f"compute {symbol}", _whole(left, right))
        changed = () if isinstance(left, (Const, Fresh)) else (Touch("whole", "update", left),)
        return Described(f"compute {symbol}=", (*changed, *_whole(right)))

    def _compare(self, _ins: Instruction, stack: Stack) -> Described | None:
        left, right = stack[-2:]
        if _plain(left, right) or _scalar(left, right):
            return None
        return Described("compare", _whole(left, right))

    def _test(self, _ins: Instruction, stack: Stack) -> Described | None:
        return self._look("test", stack[-1])

    def _unpack(self, _ins: Instruction, stack: Stack) -> Described | None:
        return self._look("unpack", stack[-1])

    def _iterate(self, _ins: Instruction, stack: Stack) -> Described | None:
        return self._look("iterate", stack[-1])

    def _format(self, ins: Instruction, stack: Stack) -> Described | None:
        with_specification = ins.name == "FORMAT_WITH_SPEC" or ins.arg & 4
        return self._look("format", stack[-2 if with_specification else -1])

    def _look(self, verb: str, value: Expr) -> Described | None:
        """Reads `value`, which needs a point of its own unless it was loaded at one just now."""
        touches = _whole(value)
        if not touches:
            return None
        alone = isinstance(value, (Local, Global, Deref))
        return Described(f"{verb} {text(value)}", touches, shared=alone)

    def _next(self, _ins: Instruction, stack: Stack) -> Described | None:
        iterator = stack[-1]
        if isinstance(iterator, (Const, Fresh)):
            return None
        base = iterator.base if isinstance(iterator, View) else iterator
        return Described(f"next of {text(base)}", _whole(base))

    # ------------------------------------------------------------------ calls

    def _call(self, ins: Instruction, stack: Stack) -> Described | None:
        call = call_of(ins, stack)
        match call.callee:
            case Method(base, "__exit__" | "__aexit__"):
                return Described(f"exit {text(base)}", call=True)
            case Method(base, "__enter__" | "__aenter__"):
                return Described(f"enter {text(base)}", call=True)
            case Method(base, name):
                touches = (Touch("call", "read", base, name, args=call.args),)
                shared = not isinstance(base, Const) or name == "join"
                return Described(f"call {text(base)}.{name}", touches, shared, call=True)
            case Global(name) if name in _READERS:
                return Described(f"call {name}", _whole(*call.args), call=True)
            case callee:
                return Described(f"call {text(callee)}", (), self._opaque(callee), call=True)

    def _opaque(self, callee: Expr) -> bool:
        """Whether what it does to others happens where no point can be."""
        if not isinstance(callee, Global):
            return not isinstance(callee, Fresh)
        bound = callee.name in self._facts.globals
        return bound or callee.name not in self._facts.functions | _HARMLESS

    def _enter(self, _ins: Instruction, stack: Stack) -> Described | None:
        return Described(f"enter {text(stack[-1])}", call=True)


_About: TypeAlias = Callable[[Describer, Instruction, Stack], Described | None]

_ABOUT: dict[str, _About] = {
    "BEFORE_WITH": Describer._enter,
    "BINARY_OP": Describer._binary,
    "BINARY_SLICE": Describer._load_slice,
    "BINARY_SUBSCR": Describer._load_item,
    "CALL": Describer._call,
    "CALL_FUNCTION_EX": Describer._call,
    "CALL_KW": Describer._call,
    "COMPARE_OP": Describer._compare,
    "CONTAINS_OP": Describer._contains,
    "DELETE_ATTR": Describer._delete_attr,
    "DELETE_DEREF": Describer._delete_cell,
    "DELETE_GLOBAL": Describer._delete_global,
    "DELETE_SUBSCR": Describer._delete_item,
    "FORMAT_SIMPLE": Describer._format,
    "FORMAT_VALUE": Describer._format,
    "FORMAT_WITH_SPEC": Describer._format,
    "FOR_ITER": Describer._next,
    "GET_ITER": Describer._iterate,
    "LOAD_ATTR": Describer._load_attr,
    "LOAD_DEREF": Describer._load_cell,
    "LOAD_GLOBAL": Describer._load_global,
    "LOAD_METHOD": Describer._load_method,
    "STORE_ATTR": Describer._store_attr,
    "STORE_DEREF": Describer._store_cell,
    "STORE_GLOBAL": Describer._store_global,
    "STORE_SLICE": Describer._store_slice,
    "STORE_SUBSCR": Describer._store_item,
    "UNARY_NOT": Describer._test,
    "TO_BOOL": Describer._test,
    "UNPACK_EX": Describer._unpack,
    "UNPACK_SEQUENCE": Describer._unpack,
    **dict.fromkeys(("DICT_MERGE", "DICT_UPDATE", "LIST_EXTEND", "SET_UPDATE"), Describer._unpack),
    **dict.fromkeys(
        (
            "JUMP_IF_FALSE_OR_POP",
            "JUMP_IF_TRUE_OR_POP",
            "POP_JUMP_BACKWARD_IF_FALSE",
            "POP_JUMP_BACKWARD_IF_TRUE",
            "POP_JUMP_FORWARD_IF_FALSE",
            "POP_JUMP_FORWARD_IF_TRUE",
            "POP_JUMP_IF_FALSE",
            "POP_JUMP_IF_TRUE",
        ),
        Describer._test,
    ),
}


def _attribute(
    verb: str, mode: Mode, base: Expr, name: str, value: Expr | None = None
) -> Described:
    touch = Touch("attribute", mode, base, name, value=value)
    return Described(f"{verb} {text(base)}.{name}", (touch,))


def _item(
    verb: str, mode: Mode, base: Expr, key: Expr, value: Expr | None = None
) -> Described | None:
    if isinstance(base, (Const, Fresh)):
        return None
    touch = Touch("item", mode, base, key=key, value=value)
    return Described(f"{verb} {text(Item(base, key))}", (touch,))


def _whole(*values: Expr) -> tuple[Touch, ...]:
    return tuple(
        Touch("whole", "read", value.base if isinstance(value, View) else value)
        for value in values
        if not isinstance(value, (Const, Fresh, Unknown))
    )


def _plain(*values: Expr) -> bool:
    return all(isinstance(value, (Const, Fresh)) for value in values)


def _scalar(*values: Expr) -> bool:
    return any(isinstance(value, Const) and isinstance(value.value, _SCALARS) for value in values)
