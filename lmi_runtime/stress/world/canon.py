"""From live objects to trees, without running a line of anybody's code."""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import enum
import fractions
import functools
import inspect
import itertools
import pathlib
import queue
import re
import types
import uuid
from collections.abc import Callable
from typing import Any, Final

from lmi_runtime.stress.world.nodes import Node, Tree, number

__all__ = ["Canon", "type_name"]

_PLAIN: Final = frozenset({type(None), bool, int, bytes})
# Their repr runs the interpreter's own code only, and says all there is.
_BY_REPR: Final = frozenset(
    {
        complex,
        datetime.date,
        datetime.timedelta,
        datetime.timezone,
        decimal.Decimal,
        fractions.Fraction,
        itertools.count,
        range,
        slice,
        type(...),
        type(NotImplemented),
        uuid.UUID,
        *(vars(pathlib)[name] for name in ("PurePosixPath", "PureWindowsPath")),
        type(pathlib.Path()),
    }
)
_ZONES: Final = (type(None), datetime.timezone)
# Classes of the standard library that hold state for users: the attributes that are it.
_STATE_OF: Final[dict[str, tuple[str, ...]]] = {
    "asyncio.locks.BoundedSemaphore": ("_value",),
    "asyncio.locks.Event": ("_value",),
    "asyncio.locks.Semaphore": ("_value",),
    "asyncio.queues.LifoQueue": ("_queue",),
    "asyncio.queues.PriorityQueue": ("_queue",),
    "asyncio.queues.Queue": ("_queue",),
    "collections.ChainMap": ("maps",),
    "collections.UserDict": ("data",),
    "collections.UserList": ("data",),
    "queue.LifoQueue": ("queue", "unfinished_tasks"),
    "queue.PriorityQueue": ("queue", "unfinished_tasks"),
    "queue.Queue": ("queue", "unfinished_tasks"),
    "threading.BoundedSemaphore": ("_value",),
    "threading.Event": ("_flag",),
    "threading.Semaphore": ("_value",),
}
_module_of: Final = type.__dict__["__module__"].__get__
_qualname_of: Final = type.__dict__["__qualname__"].__get__
_mro_of: Final = type.__dict__["__mro__"].__get__
_vars_of: Final = type.__dict__["__dict__"].__get__
_args_of: Final = vars(BaseException)["args"].__get__
_LruCache: Final = type(functools.lru_cache(lambda: None))
_cache_info: Final[Any] = vars(_LruCache)["cache_info"]


def type_name(cls: type) -> str:
    """Name of a class as people write it: that of a builtin has no module."""
    module, name = _module_of(cls), str(_qualname_of(cls))
    return name if module == "builtins" else f"{module}.{name}"


class Canon:
    """
    Makes trees of one moment; objects seen twice are read once.

    Locks, threads, files and instances of classes that are not `opened` are opaque: only that
    they are there is compared. Identity is not.

    Thread safety: use by one thread, while nothing else runs.
    """

    def __init__(
        self,
        opened: Callable[[type], bool],
        *,
        normalise: Callable[[str], str] | None = None,
        max_depth: int = 20,
        max_nodes: int = 50_000,
    ) -> None:
        """
        Args:
            opened: Whether the attributes of instances of a class are looked at.
            normalise: Applied to every string, to take out what differs by design.
            max_depth: Deeper things are cut.
            max_nodes: After so many values the rest is cut.
        """
        self._opened = opened
        self._normalise = normalise
        self._max_depth = max_depth
        self._left = max_nodes
        self._depth = 0
        self._ancestors: dict[int, int] = {}
        self._lowest = max_depth
        """The outermost ancestor that something below pointed back to."""
        self._known: dict[int, Tree] = {}
        self._plans: dict[type, tuple[bool, dict[str, Any]]] = {}

    def tree(self, value: Any) -> Tree:
        """The value as a tree."""
        cls = type(value)
        if cls in _PLAIN:
            return value
        if cls is str:
            return value if self._normalise is None else self._normalise(value)
        if cls is float:
            return number(value)
        return self._composed(value, cls)

    def _composed(self, value: Any, cls: type) -> Tree:
        identity = id(value)
        if identity in self._known:
            return self._known[identity]
        if identity in self._ancestors:
            self._lowest = min(self._lowest, self._ancestors[identity])
            return Node("again", text=str(self._depth - self._ancestors[identity]))
        if self._depth >= self._max_depth or self._left <= 0:
            return Node("cut")
        return self._entered(value, cls, identity)

    def _entered(self, value: Any, cls: type, identity: int) -> Tree:
        outer, self._lowest = self._lowest, self._max_depth
        self._ancestors[identity] = self._depth
        self._depth += 1
        self._left -= 1
        try:
            found = self._read(value, cls)
        finally:
            self._depth -= 1
            del self._ancestors[identity]
        if self._lowest >= self._depth:
            # Nothing in it points further up, so it looks the same from everywhere.
            self._known[identity] = found
            self._lowest = outer
        else:
            self._lowest = min(self._lowest, outer)
        return found

    def _read(self, value: Any, cls: type) -> Tree:
        # Subclasses of these keep their items where the base class does, so the base class's
        # own methods read them without asking theirs.
        if issubclass(cls, dict):
            return self._mapping(value, cls)
        if issubclass(cls, list):
            return self._sequence("list", cls, list.__iter__(value), value)
        if issubclass(cls, tuple):
            return self._sequence("tuple", cls, tuple.__iter__(value), value)
        if issubclass(cls, (set, frozenset)):
            items = set.__iter__(value) if issubclass(cls, set) else frozenset.__iter__(value)
            parts = sorted(map(self.tree, items), key=repr)
            return self._with_attributes(Node("set", self._type(cls), tuple(parts)), value, cls)
        if issubclass(cls, collections.deque):
            return self._deque(value, cls)
        return self._scalar(value, cls)

    def _scalar(self, value: Any, cls: type) -> Tree:
        if issubclass(cls, enum.Enum):
            name = object.__getattribute__(value, "__dict__").get("_name_")
            return Node("leaf", type_name(cls), text=f"{_qualname_of(cls)}.{name}")
        if issubclass(cls, str):
            return self.tree(str.__str__(value))
        if issubclass(cls, int):
            return int.__int__(value)
        if issubclass(cls, float):
            return number(float.__float__(value))
        if issubclass(cls, (bytes, bytearray)):
            return bytes(memoryview(value))
        if cls in _BY_REPR:
            return self._leaf(cls, repr(value))
        if cls is datetime.datetime or cls is datetime.time:
            zone = value.tzinfo
            naive = value if type(zone) in _ZONES else value.replace(tzinfo=None)
            return Node("leaf", type_name(cls), text=repr(naive))
        return self._thing(value, cls)

    def _leaf(self, cls: type, text: str) -> Node:
        return Node("leaf", type_name(cls), text=self._normalise(text) if self._normalise else text)

    def _thing(self, value: Any, cls: type) -> Tree:
        if cls is re.Pattern:
            return Node("leaf", "re.Pattern", text=f"re.compile({value.pattern!r})")
        if cls is array.array:
            return Node("leaf", "array.array", text=repr(value))
        if cls is _LruCache:
            info = _cache_info(value)
            bounded = info.maxsize is not None
            return Node("size", "lru_cache", size=info.currsize, bounded=bounded)
        if cls is queue.SimpleQueue:
            return Node("size", "queue", size=queue.SimpleQueue.qsize(value))
        if cls is types.FunctionType:
            return self.function(value)
        if issubclass(cls, type):
            return Node("opaque", f"class {type_name(value)}")
        if issubclass(cls, BaseException):
            return self._exception(value, cls)
        if cls is types.MappingProxyType:
            return Node("opaque", "mappingproxy")
        return self._instance(value, cls)

    def _mapping(self, value: Any, cls: type) -> Tree:
        pairs = [(self.tree(key), self.tree(item)) for key, item in dict.items(value)]
        pairs.sort(key=_first_repr)
        return self._with_attributes(Node("dict", self._type(cls), tuple(pairs)), value, cls)

    def _sequence(self, kind: str, cls: type, items: Any, value: Any) -> Tree:
        parts = tuple(map(self.tree, items))
        return self._with_attributes(Node(kind, self._type(cls), parts), value, cls)

    def _deque(self, value: Any, cls: type) -> Tree:
        parts = tuple(map(self.tree, collections.deque.__iter__(value)))
        limit = vars(collections.deque)["maxlen"].__get__(value)
        node = Node("list", self._type(cls), parts, bounded=limit is not None)
        return self._with_attributes(node, value, cls)

    def _with_attributes(self, node: Node, value: Any, cls: type) -> Tree:
        """A container of a user's own class may have attributes, too."""
        if _module_of(cls) in ("builtins", "collections") or not self._opened(cls):
            return node
        attributes = self._attributes(value, cls)
        if not attributes:
            return node
        return Node("object", self._type(cls), (*attributes, ("items()", node)))

    def _exception(self, value: BaseException, cls: type) -> Tree:
        arguments = ("args", self.tree(_args_of(value)))
        attributes = self._attributes(value, cls) if self._opened(cls) else ()
        return Node("object", type_name(cls), (arguments, *attributes))

    def _instance(self, value: Any, cls: type) -> Tree:
        name = type_name(cls)
        if name in _STATE_OF:
            held = self._attributes(value, cls)
            parts = tuple((key, part) for key, part in held if key in _STATE_OF[name])
            return Node("object", name, parts)
        if cls is types.SimpleNamespace or self._opened(cls):
            return Node("object", self._type(cls), self._attributes(value, cls))
        return Node("opaque", name)

    def _attributes(self, value: Any, cls: type) -> tuple[tuple[str, Tree], ...]:
        has_dict, slots = self._plan(cls)
        found: dict[str, Any] = {}
        for name, descriptor in slots.items():
            try:
                found[name] = descriptor.__get__(value)
            except AttributeError:
                continue  # declared, never set
        if has_dict:
            found |= object.__getattribute__(value, "__dict__")
        return tuple((str(name), self.tree(found[name])) for name in sorted(found, key=str))

    def _plan(self, cls: type) -> tuple[bool, dict[str, Any]]:
        if cls not in self._plans:
            self._plans[cls] = _plan(cls)
        return self._plans[cls]

    def _type(self, cls: type) -> str:
        return type_name(cls).removeprefix("collections.")

    def function(self, value: types.FunctionType) -> Tree:
        """What a function of the user keeps between calls: defaults, closure, attributes."""
        name = f"function {value.__module__}.{value.__qualname__}"
        if not (value.__closure__ or value.__defaults__ or value.__kwdefaults__ or vars(value)):
            return Node("opaque", name)
        held = {key: item for key, item in vars(value).items() if key != "__wrapped__"}
        held |= _defaults(value) | _closure(value)
        parts = tuple((key, self.tree(item)) for key, item in sorted(held.items()))
        stateful = tuple(pair for pair in parts if not _constant(pair[1]))
        return Node("object", name, stateful) if stateful else Node("opaque", name)


def _first_repr(pair: tuple[Tree, Tree]) -> str:
    return repr(pair[0])


def _constant(tree: Tree) -> bool:
    return isinstance(tree, Node) and tree.kind == "opaque"


def _defaults(function: types.FunctionType) -> dict[str, Any]:
    code, values = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount][code.co_argcount - len(values) :]
    return dict(zip(names, values, strict=True)) | (function.__kwdefaults__ or {})


def _closure(function: types.FunctionType) -> dict[str, Any]:
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue  # not assigned yet
    return found


def _plan(cls: type) -> tuple[bool, dict[str, Any]]:
    """Whether instances have a real `__dict__`, and the real slots of a class."""
    has_dict = False
    slots: dict[str, Any] = {}
    for base in _mro_of(cls):
        for name, attribute in _vars_of(base).items():
            if name == "__dict__":
                has_dict |= inspect.isgetsetdescriptor(attribute)
            elif type(attribute) is types.MemberDescriptorType and _module_of(base) != "builtins":
                slots.setdefault(name, attribute)
    return has_dict, slots
