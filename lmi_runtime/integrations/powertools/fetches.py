"""One fetch of a parameter at a time, for all threads that want it."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from lmi_runtime import _sync, context

__all__ = ["Fetches", "fetches"]


class _Fetch:
    """One under way. `value` and `is_good` are written before `done` is set, and never again."""

    __slots__ = ("done", "is_good", "is_outdated", "provider", "value")

    def __init__(self, provider: object) -> None:
        self.provider = provider  # lives as long, so that its id stays its own
        self.done = _sync.Event()
        self.is_good = False
        self.value: Any = None
        self.is_outdated = False  # guarded by the lock of the fetches; only ever becomes True


_inside: ContextVar[tuple[_Fetch, ...]] = ContextVar("lmi_parameter_fetches", default=())
"""What the calling code is a part of, the innermost last; helper threads inherit it."""


class Fetches:
    """
    The fetches of all providers.

    Thread safety: from any thread. No code of a provider runs under the lock.
    """

    def __init__(self) -> None:
        # Re-entrant: values that are let go of under it may run code of theirs.
        self._lock = _sync.RLock()
        self._table: dict[Hashable, _Fetch] = {}  # guarded by _lock

    def share(self, provider: object, key: Hashable, fetch: Callable[[], Any]) -> Any:
        """
        What ``fetch()`` returns, be it called here or by a thread that was earlier.

        Whoever waited for a fetch that failed makes its own: the error may be about the time that
        the other's request had left. So does who has waited until its own request's deadline: what
        is to become of the call then is up to the client. Nobody waits on an event loop, which the
        other may need.
        """
        if _sync.current_home() is not None:
            return fetch()
        key = (id(provider), key)
        mine = _Fetch(provider)
        with self._lock:
            one = self._table.setdefault(key, mine)
        if one is mine:
            return self._lead(key, mine, fetch)
        if one in _inside.get():
            return fetch()  # it would wait for itself
        left_s = context.deadline_s() - _sync.monotonic()
        one.done.wait(None if math.isinf(left_s) else max(left_s, 0.0))
        return one.value if one.is_good else fetch()

    def _lead(self, key: Hashable, mine: _Fetch, fetch: Callable[[], Any]) -> Any:
        token = _inside.set((*_inside.get(), mine))
        try:
            mine.value = fetch()
            mine.is_good = True
        finally:
            _inside.reset(token)
            with self._lock:
                if self._table.get(key) is mine:
                    del self._table[key]
            mine.done.set()
        return mine.value

    @contextmanager
    def outdating(self, provider: object) -> Iterator[None]:
        """What is being fetched for `provider` is not to be cached, nor shared with newcomers."""
        with self._lock:
            for key, one in list(self._table.items()):
                if one.provider is provider:
                    one.is_outdated = True
                    del self._table[key]
            yield

    @contextmanager
    def caching(self, provider: object) -> Iterator[bool]:
        """Whether what the calling code has fetched may be cached; it stays true in the block."""
        with self._lock:
            inside = _inside.get()
            yield not any(one.is_outdated for one in inside if one.provider is provider)


fetches = _sync.ProcessWide(Fetches, anew_in_child=True)
