"""A second level that fails no request."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from lmi_runtime import _sync
from lmi_runtime.caches.forks import follow
from lmi_runtime.caches.second.breaker import Breaker, after_failure, after_success, may_ask
from lmi_runtime.caches.second.level import SecondLevel, TooLarge
from lmi_runtime.errors import WrongKindOfCaller

__all__ = ["GuardedLevel"]

_log = logging.getLogger("lmi_runtime.caches")
_LOG_EVERY_S = 60.0


class GuardedLevel:
    """
    Asks a second level, and takes every failure for "not there".

    Failures are counted, and logged once a minute at most. After three in a row it is left alone
    for a second, then for two, and so on up to half a minute, and one call finds out whether it
    answers again.

    Thread safety: from any thread and any task.
    """

    def __init__(self, level: SecondLevel, name: str) -> None:
        self._level = level
        self._name = name
        self._begin_anew()
        self._breaker = Breaker()  # guarded by _lock
        self._logged_s = -_LOG_EVERY_S  # guarded by _lock
        follow(self)

    def get(self, key: str) -> bytes | None:
        """What is there, if it can be asked."""
        found = None
        with self._asking() as may:
            if may:
                found = self._level.get(key)
                self._count(found)
        return found

    async def aget(self, key: str) -> bytes | None:
        """The same for tasks."""
        found = None
        with self._asking() as may:
            if may:
                found = await self._level.aget(key)
                self._count(found)
        return found

    def set(self, key: str, value: bytes, ttl_s: float | None, *, strict: bool = False) -> None:
        """
        Tell it, if it can be told.

        Raises:
            WrongKindOfCaller: It has a client for tasks only, and `strict` wants to know.
        """
        with self._asking(strict=strict) as may:
            if may:
                self._level.set(key, value, ttl_s)

    async def aset(self, key: str, value: bytes, ttl_s: float | None) -> None:
        """The same for tasks."""
        with self._asking() as may:
            if may:
                await self._level.aset(key, value, ttl_s)

    def delete(self, key: str) -> None:
        """
        Have it forget, if it can be told.

        Raises:
            WrongKindOfCaller: It has a client for tasks only: what is there would stay there.
        """
        with self._asking(strict=True) as may:
            if may:
                self._level.delete(key)

    async def adelete(self, key: str) -> None:
        """The same for tasks."""
        with self._asking() as may:
            if may:
                await self._level.adelete(key)

    def _begin_anew(self) -> None:
        self._lock = _sync.Lock()
        self.hits = _sync.Counter()
        self.misses = _sync.Counter()
        self.failures = _sync.Counter()
        self.too_large = _sync.Counter()

    def before_fork(self, patience_s: float) -> bool:
        """See `forks.Forking`."""
        return self._lock.acquire(timeout=patience_s)

    def after_fork_in_parent(self) -> None:
        """See `forks.Forking`."""
        self._lock.release()

    def after_fork_in_child(self, consistent: bool) -> None:
        """See `forks.Forking`."""
        self._begin_anew()

    def _count(self, found: bytes | None) -> None:
        (self.misses if found is None else self.hits).add()

    @contextlib.contextmanager
    def _asking(self, *, strict: bool = False) -> Iterator[bool]:
        with self._lock:
            before = self._breaker
            asking = may_ask(before, _sync.monotonic())
            if asking is not None:
                self._breaker = asking
        if asking is None:
            yield False
            return
        try:
            yield True
        except WrongKindOfCaller as error:  # it was never asked
            with self._lock:
                if self._breaker is asking:
                    self._breaker = before
            if strict:
                raise
            self._failed(error, counts=False)
            return
        except TooLarge:
            self.too_large.add()
        except Exception as error:
            self._failed(error)
            return
        with self._lock:
            self._breaker = after_success(self._breaker)

    def _failed(self, error: Exception, *, counts: bool = True) -> None:
        self.failures.add()
        now_s = _sync.monotonic()
        with self._lock:
            if counts:
                self._breaker = after_failure(self._breaker, now_s)
            quiet = now_s - self._logged_s < _LOG_EVERY_S
            if not quiet:
                self._logged_s = now_s
        if not quiet:
            _log.warning("The second level of cache %r failed: %r", self._name, error)
