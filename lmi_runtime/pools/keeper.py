"""The one thread of a process that looks after its pools."""

from __future__ import annotations

import logging
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from lmi_runtime import _sync

if TYPE_CHECKING:
    from lmi_runtime.pools.engine import Engine
    from lmi_runtime.pools.members import Member

__all__ = ["Keeper", "Kept", "keeper"]

_log = logging.getLogger(__name__)

_AFTER_FAILURE_S = 1.0
_RESTS_FOR_S = 0.05
"""How long the thread stays when there is nothing to look after."""


class Kept(Protocol):
    """Something that has to be looked after."""

    def tend(self, now_s: float) -> float | None:
        """Do what is due; returns in how many seconds to come again, or None for never."""
        ...


class Keeper:
    """
    Starts its thread when the first pool needs one, and lets it end when none does.

    Attributes:
        dropped: What finalizers found lent. Changed in atomic steps: a finalizer may interrupt
            anything.
        put_off: What finalizers wanted while their thread held a pool's lock. The same.

    Thread safety: from any thread; `poke` also from finalizers.
    """

    def __init__(self) -> None:
        self._lock = _sync.RLock()  # a finalizer may come in
        self._watched: weakref.WeakKeyDictionary[Kept, int] = (
            weakref.WeakKeyDictionary()
        )  # guarded by _lock; how often each was asked for
        self._running = False  # guarded by _lock
        self._pokes: _sync.SimpleQueue[None] = _sync.SimpleQueue()
        self.dropped: deque[tuple[Engine[Any], Member[Any]]] = deque()
        self.put_off: deque[Callable[[], None]] = deque()

    def watch(self, pool: Kept) -> None:
        """Look after `pool` until it says that nothing will ever be due."""
        with self._lock:
            self._watched[pool] = self._watched.get(pool, 0) + 1
            start, self._running = not self._running, True
        if start:
            self._start()
        else:
            self.poke()

    def _start(self) -> None:
        try:
            _sync.spawn(self._run, name="lmi_runtime pools")
        except RuntimeError:  # no more threads now: who asks next tries again
            with self._lock:
                self._running = False

    def poke(self) -> None:
        """Look now."""
        self._pokes.put(None)

    def forget(self) -> None:
        """Leave what finalizers left: in a child it is the parent's."""
        self.dropped.clear()
        self.put_off.clear()

    def _run(self) -> None:
        while (pause_s := self._round()) is not None:
            try:
                self._pokes.get(timeout=pause_s)
            except _sync.QueueEmpty:
                continue
            while not self._pokes.empty():
                self._pokes.get()

    def _round(self) -> float | None:
        with self._lock:
            pools = list(self._watched.items())
            if not pools:
                self._running = False
                return None
        due = []
        for pool, asked in pools:
            pause_s = _tended(pool)
            if pause_s is None:
                self._forget(pool, asked)
            else:
                due.append(pause_s)
        return min(due, default=_RESTS_FOR_S)

    def _forget(self, pool: Kept, asked: int) -> None:
        with self._lock:
            if self._watched.get(pool) == asked:  # nobody has asked again meanwhile
                del self._watched[pool]


def _tended(pool: Kept) -> float | None:
    try:
        return pool.tend(_sync.monotonic())
    except Exception:  # one pool's trouble is not the others'
        _log.exception("Looking after a pool failed")
        return _AFTER_FAILURE_S


keeper = _sync.ProcessWide(Keeper)
"""The keeper of this process; in a child, where the parent's thread does not run, another one."""
