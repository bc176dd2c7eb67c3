"""Names that people use for locks and threads."""

from __future__ import annotations

import itertools
import linecache
import re
import threading
from types import CodeType
from typing import Any

from lmi_runtime.stress.control.locks import ControlledLock

__all__ = ["before", "made_name", "name_of"]

_OWN_FOLDER = __file__.rpartition("/")[0]
_ASSIGNED = re.compile(r"^\s*(?:global\s+\w+\s*;\s*)?([A-Za-z_][\w.\[\]'\"]*)\s*(?::[^=]+)?=(?!=)")
_KEYWORD = re.compile(
    r"(\w+)\s*=\s*(?:threading\.|asyncio\.)?"
    r"(?:R?Lock|Event|Condition|(?:Bounded)?Semaphore|(?:Lifo|Priority)?Queue|Barrier)\("
)


def name_of(thing: Any) -> str:
    """
    What a person would call a lock or a thread: the name it was assigned to where it was made.
    """
    if isinstance(thing, threading.Thread):
        return thing.name
    if isinstance(thing, ControlledLock):
        return _name_of_lock(thing)
    if hasattr(thing, "_stress_made"):
        return made_name(thing) or f"an asyncio.{type(thing).__name__}"
    if hasattr(thing, "get_name"):
        return str(thing.get_name())
    name = getattr(thing, "name", None)
    return name if isinstance(name, str) else type(thing).__name__


def made_name(thing: Any) -> str:
    """What an asyncio primitive was assigned to where it was made, or nothing."""
    made = getattr(thing, "_stress_made", None)
    if made is None:
        return ""
    code, line, offset = made
    found = _TARGET.search(before(code, line, offset))
    return _assigned(code, line) if found is None else _qualified(found.group(1), code)


def before(code: CodeType, line: int, offset: int) -> str:
    """The part of the line that comes before the expression with the instruction at `offset`."""
    column = _column(code, offset)
    return linecache.getline(code.co_filename, line).encode()[:column].decode(errors="replace")


def _column(code: CodeType, offset: int) -> int:
    positions = next(itertools.islice(code.co_positions(), offset // 2, None), None)
    return 0 if positions is None else positions[2] or 0


_TARGET = re.compile(r"([A-Za-z_][\w.\[\]'\"]*)\s*(?::[^=]+)?=\s*$")


def _name_of_lock(lock: ControlledLock) -> str:
    if lock.made is None:
        return f"lock {lock.number}"
    code, line = lock.made
    if code.co_filename.startswith(_OWN_FOLDER):  # in place of one that was there before
        return "a lock of the standard library"
    name = _assigned(code, line) or f"the lock made at {_module_of(code)}.py:{line}"
    return name if lock.nth == 1 else f"{name} #{lock.nth}"


def _module_of(code: CodeType) -> str:
    return code.co_filename.rpartition("/")[2].removesuffix(".py")


def _assigned(code: CodeType, line: int) -> str:
    text = linecache.getline(code.co_filename, line)
    found = _ASSIGNED.match(text) or _KEYWORD.search(text)
    if found is None:
        return ""
    return _qualified(found.group(1), code)


def _qualified(name: str, code: CodeType) -> str:
    owner, _, rest = name.partition(".")
    if owner in ("self", "cls") and rest:
        return f"{code.co_qualname.rpartition('.')[0] or _module_of(code)}.{rest}"
    return name
