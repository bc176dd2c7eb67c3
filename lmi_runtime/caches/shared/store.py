"""
The port behind a shared cache: where records are kept for all processes of an environment.

A store knows bytes, the order in which they were written, and marks. It knows neither clocks nor
values. `seq` counts invalidations; a mark says at which count a name was invalidated last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias

__all__ = [
    "Backend",
    "Found",
    "Moment",
    "Session",
    "StoreBroken",
    "StoreBusy",
    "StoreError",
    "StoreFull",
    "StoreResting",
    "StoreUsage",
]


class StoreError(Exception):
    """The store could not do it; the cache does without."""


class StoreBroken(StoreError):
    """The file is not what it should be: begin a new one."""


class StoreFull(StoreError):
    """The disk is full."""


class StoreResting(StoreError):
    """It failed a moment ago, or belongs to the parent of this process: it is not tried."""


class StoreBusy(StoreError):
    """Others wrote for so long that this write was given up."""


class Moment(NamedTuple):
    """How far a store was when a load began. What happened since counts for more than the load."""

    seq: int
    row: int


Found: TypeAlias = tuple[int, bytes]
"""The count of invalidations when the load of a record began, and the record."""


class StoreUsage(NamedTuple):
    """How much is in a store: entries, expired ones included, and bytes of its file in use."""

    entries: int
    used_bytes: int


class Session(Protocol):
    """
    One opening of a store. Every method raises `StoreError`, and nothing else for what is outside.

    Thread safety: one user at a time; any number of sessions at once, in any number of processes.
    """

    def get(self, key: bytes) -> Found | None: ...

    def newest_mark(self, names: Sequence[bytes]) -> int:
        """The count at which the last of `names`, or everything, was invalidated."""
        ...

    def moment(self, key: bytes) -> Moment: ...

    def put(self, key: bytes, data: bytes, *, since: Moment | None, names: Sequence[bytes]) -> bool:
        """
        Write, and make room for it where needed.

        Args:
            key: As `canonical_key` gives it.
            data: The record.
            since: When its load began. Nothing is written if one of `names`, or everything, has
                been invalidated since, or the key has been written. None: write in any case.
            names: Marks that concern this record.

        Returns:
            Whether it was written: False also for what is too large to be kept.
        """
        ...

    def delete(self, key: bytes, name: bytes) -> bool:
        """Remove one record and leave the mark `name`. False: there was none."""
        ...

    def mark(self, name: bytes) -> None:
        """Invalidate all records that have `name` among theirs."""
        ...

    def clear(self) -> None:
        """Remove everything; loads that have begun are not kept."""
        ...

    def usage(self) -> StoreUsage: ...

    def close(self) -> None: ...


class Backend(Protocol):
    """
    A store in one directory, opened by this process.

    Thread safety: from any thread.
    """

    def connect(self) -> Session: ...

    def close(self) -> None:
        """Close what the sessions share. All of them are closed by then."""
        ...
