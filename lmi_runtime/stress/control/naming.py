"""Names that people use for locks and threads."""

from __future__ import annotations

import linecache
import re
import threading
from typing import Any

from lmi_runtime.stress.control.locks import ControlledLock

__all__ = ["name_of"]

_ASSIGNED = re.compile(r"^\s*(?:global\s+\w+\s*;\s*)?([A-Za-z_][\w.\[\]'\"]*)\s*(?::[^=]+)?=(?!=)")
_KEYWORD = re.compile(r"(\w+)\s*=\s*(?:threading\.)?(?:asyncio\.)?R?Lock\(")


def name_of(thing: Any) -> str:
    """
    What a person would call a lock or a thread: the name it was assigned to where it was made.
    """
    if isinstance(thing, threading.Thread):
        return thing.name
    if isinstance(thing, ControlledLock):
        return _name_of_lock(thing)
    name = getattr(thing, "name", None)
    return name if isinstance(name, str) else type(thing).__name__


def _name_of_lock(lock: ControlledLock) -> str:
    if lock.made is None:
        return f"lock {lock.number}"
    code, line = lock.made
    text = linecache.getline(code.co_filename, line)
    found = _ASSIGNED.match(text) or _KEYWORD.search(text)
    module = code.co_filename.rpartition("/")[2].removesuffix(".py")
    if found is None:
        return f"the lock made at {module}.py:{line}"
    name = found.group(1)
    owner, _, rest = name.partition(".")
    if owner in ("self", "cls") and rest:
        return f"{code.co_qualname.rpartition('.')[0] or module}.{rest}"
    return name
