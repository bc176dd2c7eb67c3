"""The store of one cache in this process: opened when needed, given up when it fails."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from lmi_runtime import _sync
from lmi_runtime.caches.forks import follow
from lmi_runtime.caches.shared.places import EPOCH, Place
from lmi_runtime.caches.shared.store import (
    Backend,
    Found,
    Session,
    StoreBroken,
    StoreBusy,
    StoreError,
    StoreResting,
)
from lmi_runtime.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Vault"]

T = TypeVar("T")
_Lent: TypeAlias = tuple[int, Session]
"""The epoch of a store, and a session with it."""

_log = logging.getLogger("lmi_runtime.caches")
_REST_S = 1.0
"""How long a store that could not be opened is left alone."""


class Vault:
    """
    Sessions with the store that is in use, for the threads and tasks of this process.

    A store never fails its user: what cannot be done is not done, counted, and logged once for
    each reason. Nothing of it survives a fork: sessions are closed before, and opened anew by
    whoever needs one next, in the parent as in the child, because neither SQLite nor LMDB can be
    carried across.

    Args:
        name: What the log calls it.
        find: Finds its place, when it is first used.
        open_store: Opens the store in a directory.

    Thread safety: everything, from any thread.
    """

    def __init__(
        self, name: str, find: Callable[[], Place], open_store: Callable[[Path, Place], Backend]
    ) -> None:
        self._name = name
        self._find = find
        self._open_store = open_store
        self._place: Place | None = None  # set once, under _lock
        self._cells = memoryview(bytes(16)).cast("Q")  # the place's; set before it, under _lock
        self._said: set[type] = set()  # what was logged; its operations are atomic
        self._off = False  # for good, in this process; set before its threads run
        self._forget()
        follow(self)

    def _forget(self) -> None:
        self._lock = _sync.Lock()  # a thread that forks has it until it has forked
        self._backend: Backend | None = None  # guarded by _lock
        self._epoch = -1  # of _backend; guarded by _lock
        self._rest_until_s = 0.0  # guarded by _lock
        # A session belongs to its user while it is not in here. Its operations are atomic.
        self._idle: deque[_Lent] = deque()
        self._open = _sync.Counter()  # sessions, lent ones too
        self.failures = _sync.Counter()
        self.resets = _sync.Counter()

    def place(self) -> Place | None:
        """Where it is; None as long as no such place can be made."""
        if self._place is None:
            with self._lock, contextlib.suppress(StoreError):
                self._find_locked()
        return self._place

    def find(self, key: bytes) -> Found | None:
        """`use` for reading one key: of all that is done with a store this is done most."""
        try:
            lent = self._idle.pop()
        except IndexError:
            return self.use(lambda session: session.get(key), None)
        if lent[0] != self._cells[EPOCH]:
            self._idle.append(lent)
            return self.use(lambda session: session.get(key), None)
        try:
            found = lent[1].get(key)
        except StoreError as error:
            self._spoilt(lent, error)
            return None
        self._idle.append(lent)
        return found

    def use(self, operation: Callable[[Session], T], default: T) -> T:
        """What `operation` returns for a session, or `default` if the store cannot do it."""
        try:
            lent = self._take()
        except StoreError as error:
            self._failed(error)
            return default
        try:
            result = operation(lent[1])
        except StoreError as error:
            self._spoilt(lent, error)
            return default
        except BaseException:
            self._retire(lent[1])
            raise
        self._idle.append(lent)
        return result

    def _spoilt(self, lent: _Lent, error: StoreError) -> None:
        epoch, session = lent
        if isinstance(error, StoreBusy):
            self._idle.append(lent)
        else:
            self._retire(session)
        self._failed(error)
        if isinstance(error, StoreBroken):
            self._begin_anew(epoch)

    def corrupt(self) -> None:
        """Say that what was read from the store was never written to it."""
        self._failed(StoreBroken("The checksum of an entry does not fit."))
        self._begin_anew(self._epoch)

    def close(self) -> None:
        """Close what nobody uses now. The next use opens it again."""
        with self._lock:
            self._close_idle_locked()

    def _take(self) -> _Lent:
        with contextlib.suppress(IndexError):
            while True:
                lent = self._idle.pop()
                if lent[0] == self._cells[EPOCH]:
                    return lent
                self._retire(lent[1])
        return self._connect()

    def _retire(self, session: Session) -> None:
        with contextlib.suppress(StoreError):
            session.close()
        self._open.add(-1)

    def _connect(self) -> _Lent:
        with self._lock:
            if self._off or _sync.monotonic() < self._rest_until_s:
                raise StoreResting
            session = self._open_session_locked()
            self._open.add()
            return self._epoch, session

    def _open_session_locked(self) -> Session:
        while True:
            try:
                return self._backend_locked().connect()
            except StoreError as error:
                # Set aside by another process while it was being opened here: on to the next.
                if self._place is None or self._epoch == self._place.epoch:
                    self._not_connected_locked(error)
                    raise

    def _backend_locked(self) -> Backend:
        place = self._find_locked()
        epoch = place.epoch
        if self._backend is None or self._epoch != epoch:
            # The one before is closed with the last of its sessions, which may be lent.
            self._backend = None
            self._epoch = epoch
            try:
                self._backend = self._open_store(place.store(epoch), place)
            except OSError as error:
                raise StoreError(str(error)) from error
        return self._backend

    def _find_locked(self) -> Place:
        if self._place is None:
            try:
                place = self._find()
            except (OSError, ConfigurationError) as error:
                raise StoreError(str(error)) from error
            self._cells = place.cells
            self._place = place
        return self._place

    def _not_connected_locked(self, error: StoreError) -> None:
        if isinstance(error, StoreBroken) and self._place is not None:
            self._set_aside(self._place, self._epoch)
        elif not isinstance(error, StoreBusy):
            self._rest_until_s = _sync.monotonic() + _REST_S

    def _begin_anew(self, epoch: int) -> None:
        if self._place is not None:
            self._set_aside(self._place, epoch)

    def _set_aside(self, place: Place, epoch: int) -> None:
        try:
            if place.set_aside(epoch):
                self.resets.add()
        except OSError as error:
            self._failed(StoreError(str(error)))

    def _failed(self, error: StoreError) -> None:
        self.failures.add()
        kind = type(error)
        if kind in self._said or isinstance(error, StoreResting):
            return
        self._said.add(kind)
        _log.warning(
            "The shared cache %r does without its store: %s. %s",
            self._name,
            error,
            _consequence(error),
        )

    def _close_idle_locked(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._retire(self._idle.popleft()[1])
        if self._open.value == 0 and self._backend is not None:
            self._backend.close()
            self._backend = None

    def before_fork(self, patience_s: float) -> bool:
        """Leave nothing open that a child would inherit, if users give it back in time."""
        until_s = _sync.monotonic() + patience_s
        if not self._lock.acquire(timeout=patience_s):
            return False
        self._close_idle_locked()
        while self._backend is not None and _sync.monotonic() < until_s:
            _sync.sleep(0.001)
            self._close_idle_locked()
        return True

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self, consistent: bool) -> None:
        """Begin anew, or, where something was in use all the time, never again."""
        if not consistent or self._backend is not None:
            self._off = True
            _inherited.append((self._backend, self._idle))
        self._forget()


def _consequence(error: StoreError) -> str:
    if isinstance(error, StoreBroken):
        return "It was set aside; a new one is begun."
    return "Values are loaded again where they are missing. Said once."


# What a child must not close: it is its parent's.
_inherited: list[object] = []
