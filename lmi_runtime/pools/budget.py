"""
A limit on open connections that all worker processes of an environment share.

It is a file that nobody writes data of worth to: what counts are locks on its parts, which the
kernel frees when their holder dies. A permit is a lock; so is a place in the line of those who
wait for one, and so is each process's word on how large the budget is.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable
from itertools import pairwise

from lmi_runtime import _sync
from lmi_runtime._lazy import ahead
from lmi_runtime.context import worker
from lmi_runtime.errors import ConfigurationError
from lmi_runtime.pools.model import Permit

__all__ = ["ConnectionBudget", "connection_share"]

logger = logging.getLogger(__name__)

# Which lock of the file is what. A size is claimed by a shared lock on its own number.
_COUNTER = 0
_SIZES = 2**20
_PERMITS = 2**30
_LINE = 2**40
_LINE_LENGTH = 2**61

_HEAD_PAUSES_S = (0.000_5, 0.005)
"""The first of the line asks for a permit this often: at first, and after a long wait."""
_LINE_PAUSES_S = (0.002, 0.02)
"""The others ask for their turn this often, for each one before them, and at most."""

_warned: dict[tuple[str, str], object] = {}
"""What this process has warned about already; only ever added to, by dict.setdefault."""


def connection_share(max_connections: int, environments: int, share: float = 1.0) -> int:
    """
    How many connections this worker process may open, when nothing is shared with the others.

    The static way to keep to a limit: each of the worker processes of an environment gets the
    same part. It fits where a pool cannot ask a `ConnectionBudget`; that one lets a busy process
    use what an idle one does not.

    Args:
        max_connections: What the server takes.
        environments: Execution environments that may run at once.
        share: The part of the server's connections that is for this function, above 0, at most 1.

    Returns:
        At least 1. A warning is logged, once, when that is more than there is for each process.

    Raises:
        ConfigurationError: A number makes no sense.

    Thread safety: from any thread.
    """
    processes = worker().processes
    count = _per_environment(max_connections, environments, share) // processes
    if count == 0:
        _warn_once(
            "share",
            f"{max_connections}/{environments}/{share}",
            "%s connections x %s are fewer than %d environments with %d worker processes each "
            "need to have one connection per process; the server may refuse some.",
            max_connections,
            share,
            environments,
            processes,
        )
    return max(1, count)


class ConnectionBudget:
    """
    Permits to hold a connection open, for all worker processes of this environment together.

    Budgets of the same name in one environment are one budget. When their sizes differ the
    smaller one counts, and a warning is logged once.

    A permit belongs to the process that took it: whatever kills that process frees it, and a
    child that is forked has none.

    Args:
        max_connections: What the server takes.
        environments: Execution environments that may run at once; each has its part.
        share: The part of the server's connections that is for this function, above 0, at most 1.
        name: Which budget; letters, digits, ``.``, ``_`` and ``-``.
        directory: Where its file lies; by default in a directory under the temporary one that
            only this user can read.

    Raises:
        ConfigurationError: A number or the name makes no sense.

    Thread safety: everything, from any thread and any number of processes; no lock of Python's
    is held, so a fork at any time does no harm.
    """

    def __init__(
        self,
        *,
        max_connections: int,
        environments: int,
        share: float = 1.0,
        name: str = "connections",
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", name):
            raise ConfigurationError(f"{name!r} cannot be the name of a budget.")
        ahead("pathlib")
        self.name = name
        self._own_size = _environment_size(max_connections, environments, share, name)
        self._directory = directory
        # Replaced as a whole, from any thread: of two made at once, one is used once and dropped.
        self._current: _Member | None = None
        # Changed by single operations of dict only. A child's hold nothing at first.
        self._permits: dict[_Permit, None] = {}

    @property
    def size(self) -> int:
        """Permits that there are, in all processes of this environment together."""
        return self._member().size()

    @property
    def held(self) -> int:
        """Permits that this process has."""
        return sum(permit.active for permit in list(self._permits))

    def try_acquire(self) -> Permit | None:
        """
        A permit if one is free and nobody is waiting for it, else None. Never blocks.

        Raises:
            OSError: The file cannot be opened, or this process has too many open files.
        """
        member = self._member()
        return None if member.line_is_before() else self._take(member)

    def acquire(self, give_up: Callable[[], bool], owner: object = None) -> Permit | None:
        """
        Wait in line for a permit, first come first served among all threads of all processes.

        It asks again and again; not in an event loop's thread.

        Args:
            give_up: Asked at least every 50 ms; True ends the wait.
            owner: For whom; see `others_wait`.

        Returns:
            The permit, or None when `give_up` said so.

        Raises:
            OSError: As for `try_acquire`.
        """
        permit = self.try_acquire()
        if permit is not None:
            return permit
        member = self._member()
        counter = member.file.wait_lock(_COUNTER, give_up)
        if counter is None:
            return None
        try:
            number, place = member.join_line(counter)
            member.owners[number] = owner
        finally:
            counter.release()
        try:
            return self._wait(member, number, give_up)
        finally:
            del member.owners[number]
            place.release()

    def others_wait(self, owner: object = None) -> bool:
        """Whether anybody but `owner`, in any process, waits for a permit. Never blocks."""
        member = self._member()
        own = [] if owner is None else member.places_of(owner)
        return any(member.line_is_between(a, b) for a, b in pairwise([-1, *own, _LINE_LENGTH]))

    def _member(self) -> _Member:
        member = self._current
        if member is None or member.lost:
            if member is not None and member.claim.active:
                text = "The file of the budget %r was removed; what it lent before does not count."
                _warn_once("removed", str(member.file.path), text, self.name)
            member = self._current = _Member(self._file(), self.name, self._own_size)
        return member

    def _take(self, member: _Member) -> Permit | None:
        held = member.take()
        if held is None:
            return None
        permit = _Permit(held, self._permits)
        self._permits[permit] = None
        return permit

    def _wait(self, member: _Member, number: int, give_up: Callable[[], bool]) -> Permit | None:
        asked = 0
        while True:
            first = member.first_in_line(number)
            if first is None:
                permit = self._take(member)
                if permit is not None:
                    return permit
            if give_up():
                return None
            _sync.sleep(_pause_s(0 if first is None else number - first, asked))
            asked += first is None

    def _file(self) -> _sync.LockFile:
        if self._directory is None:
            directory = _sync.private_directory("lmi-budgets")
        else:
            from pathlib import Path

            directory = Path(self._directory)
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _sync.LockFile(directory / self.name)

    def __repr__(self) -> str:
        return f"<ConnectionBudget {self.name!r} of {self._own_size}>"


class _Member:
    """
    One process's part in a budget.

    Thread safety: everything, from any thread.
    """

    __slots__ = ("claim", "file", "name", "own_size", "owners")

    def __init__(self, file: _sync.LockFile, name: str, own_size: int) -> None:
        self.file = file
        self.name = name
        self.own_size = own_size
        # Who stands where in line, of this process. Changed by single operations of dict only.
        self.owners: dict[int, object] = {}
        claim = file.try_lock(_SIZES + own_size, shared=True)
        assert claim is not None, "a size is only ever locked shared"
        self.claim = claim
        larger = _SIZES + own_size + 1
        if file.locked(larger, _PERMITS - larger, through=claim):
            self._warn()

    @property
    def lost(self) -> bool:
        """Whether this part is a dead process's of the same id, or of a file that is gone."""
        return not self.claim.active or self.claim.removed

    def size(self) -> int:
        smallest = self.file.lowest_locked(_SIZES, self.own_size, through=self.claim)
        if smallest is None:
            return self.own_size
        self._warn()
        return smallest - _SIZES

    def line_is_before(self, number: int = _LINE_LENGTH) -> bool:
        return self.file.locked(_LINE, number, through=self.claim)

    def line_is_between(self, before: int, number: int) -> bool:
        start, length = before + 1, number - before - 1
        return length > 0 and self.file.locked(_LINE + start, length, through=self.claim)

    def places_of(self, owner: object) -> list[int]:
        """The numbers in line of `owner`, in order."""
        return sorted(number for number, who in list(self.owners.items()) if who is owner)

    def first_in_line(self, number: int) -> int | None:
        first = self.file.lowest_locked(_LINE, number, through=self.claim)
        return None if first is None else first - _LINE

    def take(self) -> _sync.Held | None:
        return self.file.try_any(range(_PERMITS, _PERMITS + self.size()))

    def join_line(self, counter: _sync.Held) -> tuple[int, _sync.Held]:
        """A number above all that were given before, and the lock on that place in the line."""
        number = int.from_bytes(os.pread(counter.fileno(), 8, 0), "little")
        os.pwrite(counter.fileno(), (number + 1).to_bytes(8, "little"), 0)
        place = self.file.try_lock(_LINE + number, once=True)
        assert place is not None, "no number is given twice"
        return number, place

    def __del__(self) -> None:
        if hasattr(self, "claim"):
            self.claim.release()

    def _warn(self) -> None:
        text = "Budgets named %r have different sizes in this environment; the smaller one counts."
        _warn_once("sizes", str(self.file.path), text, self.name)


class _Permit:
    __slots__ = ("_all", "_held")

    def __init__(self, held: _sync.Held, all_of_them: dict[_Permit, None]) -> None:
        self._held = held
        self._all = all_of_them

    @property
    def active(self) -> bool:
        return self._held.active

    def release(self) -> None:
        """Give it back. Once; later calls do nothing."""
        self._all.pop(self, None)
        self._held.release()


def _pause_s(before: int, asked: int) -> float:
    """How long to wait until asking again, with `before` others in line before."""
    if before:
        each_s, most_s = _LINE_PAUSES_S
        return min(most_s, each_s * before)
    first_s, most_s = _HEAD_PAUSES_S
    return min(most_s, first_s + asked * first_s / 10)


def _environment_size(max_connections: int, environments: int, share: float, name: str) -> int:
    size = _per_environment(max_connections, environments, share)
    if size == 0:
        _warn_once(
            "budget",
            name,
            "%s connections x %s are fewer than %d environments; each opens one nevertheless, and "
            "the server may refuse some.",
            max_connections,
            share,
            environments,
        )
    return max(1, size)


def _per_environment(max_connections: int, environments: int, share: float) -> int:
    """The part of one environment; 0 when there is not one for each."""
    if not 1 <= max_connections < _SIZES:
        raise ConfigurationError(f"max_connections must be 1 to {_SIZES}, not {max_connections}.")
    if environments < 1:
        raise ConfigurationError(f"environments must be at least 1, not {environments}.")
    if not 0 < share <= 1:
        raise ConfigurationError(f"share must be above 0 and at most 1, not {share}.")
    # 0.29 x 100 is 28.999999999999996 to a computer, and 29 to whoever wrote it.
    return math.floor(max_connections * share / environments + 1e-9)


def _warn_once(kind: str, which: str, text: str, *arguments: object) -> None:
    mine = object()
    if _warned.setdefault((kind, which), mine) is mine:
        logger.warning(text, *arguments)
