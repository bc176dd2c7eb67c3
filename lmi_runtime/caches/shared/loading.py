"""
One load a key in all processes of an environment.

Within a process, flights see to that. Whoever flies takes the lock of the key, looks again, and
only then loads; the kernel frees the lock when its holder dies. Threads and tasks ask for the lock
again and again, more seldom the longer it takes: what sleeps in the kernel cannot be cancelled.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from lmi_runtime import _sync
from lmi_runtime._sync.files import Held
from lmi_runtime.caches.model import Outcome, Policy, unwrap
from lmi_runtime.caches.shared.entries import Entries, Entry
from lmi_runtime.caches.shared.keys import tag_name
from lmi_runtime.caches.shared.places import FLIGHTS_FROM
from lmi_runtime.caches.shared.records import Record
from lmi_runtime.caches.shared.store import Moment
from lmi_runtime.caches.shared.vault import Vault

if TYPE_CHECKING:
    from lmi_runtime.caches.shared.tier import Tier

__all__ = ["Late", "Loading", "Task", "flight_tags", "lock_number"]

_SHARE_OF_WAIT = 0.1
_SHORTEST_PAUSE_S = 0.001
_LONGEST_PAUSE_S = 0.02
_REST_S = 1.0
"""How long after a failed load the next one in the background may begin."""
_MOST_RESTING = 1024


class Late(BaseException):
    """
    The deadline of the thread that was to load passed while another process loaded.

    Not an `Exception`: that would be the end of the load for all who wait, while this is only
    the end of waiting for one.
    """


class Task(NamedTuple):
    """
    What is to be loaded.

    Attributes:
        key: Its canonical bytes.
        loader: The user's.
        ttl_s: As the caller says, where the loader does not.
        tags: The same.
        ahead: It is refreshed before it expires: something fresh is no reason not to.
        waits: False where waiting for another process would block an event loop.
        deadline_s: Of the caller, where it is a thread and loads by itself; monotonic seconds.
    """

    key: bytes
    loader: Callable[[], Any]
    ttl_s: float | None
    tags: Iterable[str]
    ahead: bool = False
    waits: bool = True
    deadline_s: float | None = None


class Loading:
    """
    Loads on behalf of all processes.

    What it returns is an outcome whose value is a record, so that each caller decodes its own.

    Args:
        patience_s: Seconds to wait for another process. After that it is loaded here as well:
            two loads that wait for each other from two processes would wait for ever.
        tier: Asked before the loader.

    Thread safety: from any thread and loop.
    """

    def __init__(
        self, vault: Vault, entries: Entries, policy: Policy, patience_s: float, tier: Tier | None
    ) -> None:
        self._vault = vault
        self._entries = entries
        self._policy = policy
        self._patience_s = patience_s
        self._tier = tier
        self.forget()

    def forget(self) -> None:
        """Count from nothing, as a child does after a fork."""
        self._resting: dict[bytes, float] = {}  # single operations are atomic
        self.elsewhere = _sync.Counter()
        self.loads = _sync.Counter()
        self.load_us = _sync.Counter()
        self.failures = _sync.Counter()
        self.on_error = _sync.Counter()

    def load(self, task: Task) -> Outcome:
        """In a thread."""
        with self._alone(task):
            there, since = self._look(task)
            if there is None and self._tier is not None:
                there = self._found(task, self._tier.read(task.key), since)
            if there is not None:
                return there
            began_s, started_s = self._entries.now(), _sync.monotonic()
            try:
                result = task.loader()
            except Exception as error:
                return self._failed(task, error, since, started_s)
            record = self._record(task, result, began_s, started_s)
            if self._tier is None:
                self._entries.keep(task.key, record, since)
                return _outcome(record)
            self._tier.write(task.key, record)
            if self._keep(task.key, record, since):
                self._tier.delete(task.key)
            return _outcome(record)

    async def aload(self, task: Task) -> Outcome:
        """In a task, whose loop goes on meanwhile."""
        async with self._aalone(task):
            there, since = self._look(task)
            # Whatever writes does so in a thread: it has to wait for others that are writing.
            if there is None and self._tier is not None:
                found = await self._tier.aread(task.key)
                if found is not None:
                    there = await _sync.offload(lambda: self._found(task, found, since))
            if there is not None:
                return there
            began_s, started_s = self._entries.now(), _sync.monotonic()
            try:
                result = await _call(task.loader)
            except Exception as error:
                return await _sync.offload(partial(self._failed, task, error, since, started_s))
            return await self._akeep(task, result, since, began_s, started_s)

    async def _akeep(
        self, task: Task, result: Any, since: Moment, began_s: float, started_s: float
    ) -> Outcome:
        def make() -> Record:
            record = self._record(task, result, began_s, started_s)
            if self._tier is None:
                self._entries.keep(task.key, record, since)
            return record

        record = await _sync.offload(make)
        if self._tier is not None:
            try:
                await self._tier.awrite(task.key, record)
            finally:
                overtaken = await _sync.offload(lambda: self._keep(task.key, record, since))
            if overtaken:
                await self._tier.adelete(task.key)
        return _outcome(record)

    def busy(self, key: bytes) -> bool:
        """Whether this key is being loaded now, in whatever process."""
        place = self._vault.place()
        try:
            return place is not None and place.locks.locked(lock_number(key))
        except OSError:
            return False

    def rest(self, key: bytes) -> None:
        """Note that loading `key` failed: in the background it is not tried again at once."""
        if len(self._resting) >= _MOST_RESTING:
            self._resting.clear()
        self._resting[key] = _sync.monotonic() + (self._policy.negative_ttl_s or _REST_S)

    def rests(self, key: bytes) -> bool:
        """Whether loading `key` failed a moment ago."""
        until_s = self._resting.get(key)
        if until_s is None or _sync.monotonic() < until_s:
            return until_s is not None
        self._resting.pop(key, None)
        return False

    def _look(self, task: Task) -> tuple[Outcome | None, Moment]:
        """What another process has loaded meanwhile, or else the moment at which a load begins."""
        # In this order: what is invalidated between the two must not be kept.
        since = self._entries.moment(task.key)
        entry = self._entries.read(task.key)
        if entry is None or not _good(entry, self._entries.now(), task.ahead):
            return None, since
        self.elsewhere.add()
        return _outcome(entry.record), since

    def _found(self, task: Task, record: Record | None, since: Moment) -> Outcome | None:
        """What another environment has loaded."""
        if record is None or task.ahead:
            return None
        self._entries.keep(task.key, record, since)
        return _outcome(record)

    def _record(self, task: Task, result: Any, began_s: float, started_s: float) -> Record:
        self._count(started_s)
        outcome = unwrap(result, ttl_s=task.ttl_s, tags=task.tags, weigh=None)
        payload = self._entries.encode(outcome.value)
        return self._entries.record(payload, outcome.ttl_s, outcome.tags, began_s)

    def _keep(self, key: bytes, record: Record, since: Moment) -> bool:
        """
        Keep what was loaded, unless something has happened since that counts for more; if so, True.

        After the second level was told: who sets or deletes a value tells the store first, and so
        comes later there if not earlier here, where it is seen.
        """
        return not self._entries.keep(key, record, since) and self._entries.overtaken(
            key, record, since
        )

    def _failed(self, task: Task, error: Exception, since: Moment, started_s: float) -> Outcome:
        self._count(started_s)
        self.failures.add()
        self.rest(task.key)
        entry = self._entries.read(task.key)
        if entry is not None and self._entries.now() < entry.times.error_until:
            self.on_error.add()
            return _outcome(entry.record)
        if self._policy.negative_ttl_s and isinstance(error, self._policy.negative_errors):
            self._entries.keep(task.key, self._entries.failure(error), since)
        return Outcome(
            error=error, traceback=error.__traceback__, tags=frozenset(flight_tags(task.tags))
        )

    def _count(self, started_s: float) -> None:
        self.loads.add()
        self.load_us.add(int((_sync.monotonic() - started_s) * 1e6))

    @contextlib.contextmanager
    def _alone(self, task: Task) -> Iterator[None]:
        held = self._try(task.key)
        began_s = _sync.monotonic()
        while held is None and task.waits and (pause_s := self._pause_s(began_s)):
            if task.deadline_s is not None and _sync.monotonic() >= task.deadline_s:
                raise Late
            _sync.sleep(pause_s)
            held = self._try(task.key)
        try:
            yield
        finally:
            if held is not None:
                held.release()

    @contextlib.asynccontextmanager
    async def _aalone(self, task: Task) -> AsyncIterator[None]:
        import anyio

        held = self._try(task.key)
        began_s = _sync.monotonic()
        while held is None and (pause_s := self._pause_s(began_s)):
            await anyio.sleep(pause_s)
            held = self._try(task.key)
        try:
            yield
        finally:
            if held is not None:
                held.release()

    def _try(self, key: bytes) -> Held | _Unlocked | None:
        """The lock of a key; None while another process has it."""
        place = self._vault.place()
        if place is None:
            return _Unlocked()
        try:
            return place.locks.try_lock(lock_number(key))
        except OSError:  # no more files can be opened
            return _Unlocked()

    def _pause_s(self, began_s: float) -> float:
        """How long to wait before asking again; 0.0 for no longer."""
        waited_s = _sync.monotonic() - began_s
        if waited_s >= self._patience_s:
            return 0.0
        return min(_LONGEST_PAUSE_S, max(_SHORTEST_PAUSE_S, waited_s * _SHARE_OF_WAIT))


class _Unlocked:
    """Stands for a lock where none can be had: each process loads for itself."""

    def release(self) -> None:
        """Nothing is held."""


def _outcome(record: Record) -> Outcome:
    # A tag goes by its name in the store: of a record of another process no other is known.
    return Outcome(value=record, tags=frozenset(map(bytes.hex, record.tags)))


def flight_tags(tags: Iterable[str]) -> list[str]:
    """The names of tags, as the flights of a shared cache know them."""
    return [tag_name(tag).hex() for tag in tags]


def lock_number(key: bytes) -> int:
    """The number of the lock that whoever loads `key` holds."""
    from hashlib import blake2b

    return FLIGHTS_FROM + int.from_bytes(blake2b(key, digest_size=7).digest())


def _good(entry: Entry, now_s: float, ahead: bool) -> bool:
    times = entry.times
    return now_s < (min(times.refresh_at, times.fresh_until) if ahead else times.fresh_until)


async def _call(loader: Callable[[], Any]) -> Any:
    import inspect

    if inspect.iscoroutinefunction(loader) or inspect.iscoroutinefunction(type(loader).__call__):
        return await loader()
    context = copy_context()
    result = await _sync.offload(lambda: context.run(loader))
    return await result if inspect.isawaitable(result) else result
