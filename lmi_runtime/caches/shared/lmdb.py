"""A store in LMDB: several times SQLite's speed, for those who install `lmi_runtime[lmdb]`."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

from lmi_runtime import _sync
from lmi_runtime.caches.shared.store import (
    Found,
    Moment,
    StoreBroken,
    StoreError,
    StoreFull,
    StoreUsage,
)

__all__ = ["LmdbBackend"]

_PAGE_BYTES = 4096
_FILLED = 0.8
"""Of the file. LMDB writes beside what it replaces, and must always be able to remove."""
_SAMPLE = 24
_RELIEF_STEPS = 32
_MOST_MARKS = 16_384
_HEAD = struct.Struct(">QQ")
"""What an entry begins with: the count when its load began, and when it was written."""

# Everything is in one tree, so that a write touches few pages. Entries come last; the digest before
# their keys scatters them, so that any run of neighbours is a random sample.
_SEQ, _FLOOR, _MARKS, _MARK, _ENTRY = b"cseq", b"cfloor", b"cmarks", b"m", b"\xff"


class LmdbBackend:
    """
    One environment of LMDB, which a process may open once and never use across a fork.

    Args:
        directory: Where the file is, or will be made.
        max_bytes: Limit of the file.
        max_readers: Reads at once in all processes; what the first to open says holds for all.

    Raises:
        StoreError: The file cannot be opened, or is no LMDB file.

    Thread safety: from any thread.
    """

    def __init__(self, directory: Path, *, max_bytes: int, max_readers: int) -> None:
        import lmdb

        pages = max_bytes // _PAGE_BYTES
        with translated():
            self.env = lmdb.open(
                str(directory),
                map_size=pages * _PAGE_BYTES,
                max_readers=max_readers,
                mode=0o600,
                # What a crash of the machine would lose is lost with the machine.
                sync=False,
                metasync=False,
                readahead=False,
            )
            # Readers that were killed would keep old pages for ever.
            self.env.reader_check()
        self.max_pages = int(pages * _FILLED)
        self.largest_bytes = max_bytes // 10

    def connect(self) -> LmdbSession:
        """A session; it opens nothing by itself."""
        return LmdbSession(self)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


class LmdbSession:
    """
    Transactions in the environment.

    Thread safety: one user at a time.
    """

    def __init__(self, backend: LmdbBackend) -> None:
        import lmdb

        self._backend = backend
        self._begin: Any = backend.env.begin
        self._map_full = lmdb.MapFullError
        self._error = lmdb.Error

    def get(self, key: bytes) -> Found | None:
        try:
            with self._begin() as txn:
                entry: bytes | None = txn.get(_at(key))
        except self._error as error:
            raise translate(error) from error
        return None if entry is None else (int.from_bytes(entry[:8]), entry[_HEAD.size :])

    def newest_mark(self, names: Sequence[bytes]) -> int:
        with translated(), self._begin() as txn:
            return _newest_mark(txn, names)

    def moment(self, key: bytes) -> Moment:
        with translated(), self._begin() as txn:
            return Moment(_count(txn, _SEQ), _written(txn, key))

    def put(self, key: bytes, data: bytes, *, since: Moment | None, names: Sequence[bytes]) -> bool:
        if len(data) > self._backend.largest_bytes:
            return False
        with translated():
            for relieve in (self._evict_some, self._evict_all, _nothing):
                with contextlib.suppress(self._map_full), self._begin(write=True) as txn:
                    return self._put(txn, key, data, since, names)
                # What was removed can be written over only when nobody reads it any more; a
                # reader that was killed has to be told apart from one that reads.
                self._backend.env.reader_check()
                with contextlib.suppress(self._map_full):
                    relieve()
        return False

    def delete(self, key: bytes, name: bytes) -> bool:
        with translated(), self._begin(write=True) as txn:
            _mark(txn, name)
            return bool(txn.delete(_at(key)))

    def mark(self, name: bytes) -> None:
        with translated(), self._begin(write=True) as txn:
            _mark(txn, name)

    def clear(self) -> None:
        with translated(), self._begin(write=True) as txn:
            seq = _count(txn, _SEQ)
            txn.drop(self._backend.env.open_db(txn=txn), delete=False)
            _set(txn, _SEQ, seq + 1)
            _set(txn, _FLOOR, seq + 1)

    def usage(self) -> StoreUsage:
        with translated(), self._begin() as txn:
            others = sum(txn.get(name) is not None for name in (_SEQ, _FLOOR, _MARKS))
            entries = txn.stat()["entries"] - _count(txn, _MARKS) - others
            return StoreUsage(entries, _pages(txn) * _PAGE_BYTES)

    def close(self) -> None:
        """Transactions end where they begin; the environment is the backend's."""

    def _put(
        self, txn: Any, key: bytes, data: bytes, since: Moment | None, names: Sequence[bytes]
    ) -> bool:
        if since is None:
            seq = _count(txn, _SEQ)
        elif _newest_mark(txn, names) > since.seq or _written(txn, key) not in (0, since.row):
            return False
        else:
            seq = since.seq
        if _pages(txn) > self._backend.max_pages - len(data) // _PAGE_BYTES:
            _evict(txn, 2 * len(data))
        head = _HEAD.pack(seq, int(_sync.wall_time() * 1e9))
        txn.put(_at(key), head + data)
        return True

    def _evict_some(self) -> None:
        # In small steps: each can write over what the ones before have removed.
        for _ in range(_RELIEF_STEPS):
            with self._begin(write=True) as txn:
                _evict(txn, 0)

    def _evict_all(self) -> None:
        self.clear()


def _nothing() -> None:
    """There is nothing left to try."""


def _evict(txn: Any, size_bytes: int) -> None:
    """Of a few neighbours, remove the older half, and go on so until so much is removed."""
    removed_bytes = -1
    while removed_bytes < size_bytes and (sample := _sample(txn)):
        for _, at in sample[: len(sample) // 2 + 1]:
            removed_bytes += len(txn.pop(at))


def _at(key: bytes) -> bytes:
    return _ENTRY + crc32(key).to_bytes(4) + key


def _sample(txn: Any) -> list[tuple[bytes, bytes]]:
    """Some entries, wherever they are; when they were written, and where: the oldest first."""
    found: list[tuple[bytes, bytes]] = []
    with txn.cursor() as cursor:
        for start in (_ENTRY + os.urandom(4), _ENTRY):
            more = cursor.set_range(start)
            while more and len(found) < _SAMPLE:
                found.append((cursor.value()[8:16], cursor.key()))
                more = cursor.next()
            if found:
                break
    return sorted(found)


def _written(txn: Any, key: bytes) -> int:
    return int.from_bytes(txn.get(_at(key), default=b"")[8:16])


def _newest_mark(txn: Any, names: Sequence[bytes]) -> int:
    marked = (int.from_bytes(txn.get(_MARK + name, default=b"")) for name in names)
    return max(_count(txn, _FLOOR), *marked, 0)


def _mark(txn: Any, name: bytes) -> None:
    seq = _count(txn, _SEQ) + 1
    _set(txn, _SEQ, seq)
    if txn.replace(_MARK + name, seq.to_bytes(8)) is None:
        _set(txn, _MARKS, _count(txn, _MARKS) + 1)
        if _count(txn, _MARKS) > _MOST_MARKS:
            _forget_marks(txn, seq)


def _forget_marks(txn: Any, seq: int) -> None:
    # As if everything with a name had been invalidated now: never too little.
    _set(txn, _FLOOR, seq)
    _set(txn, _MARKS, 0)
    with txn.cursor() as cursor:
        more = cursor.set_range(_MARK)
        while more and cursor.key().startswith(_MARK):
            more = cursor.delete()


def _pages(txn: Any) -> int:
    facts = txn.stat()
    return int(facts["branch_pages"] + facts["leaf_pages"] + facts["overflow_pages"])


def _count(txn: Any, name: bytes) -> int:
    return int.from_bytes(txn.get(name, default=b""))


def _set(txn: Any, name: bytes, value: int) -> None:
    txn.put(name, value.to_bytes(8))


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn LMDB's errors, and the system's, into those of a store."""
    import lmdb

    try:
        yield
    except lmdb.Error as error:
        raise translate(error) from error
    except OSError as error:
        raise StoreError(str(error)) from error


def translate(error: Exception) -> StoreError:
    """What LMDB says, as a store says it."""
    import lmdb

    broken = (
        lmdb.CorruptedError,
        lmdb.InvalidError,
        lmdb.VersionMismatchError,
        lmdb.PageNotFoundError,
        lmdb.PanicError,
        lmdb.IncompatibleError,
    )
    if isinstance(error, broken):
        return StoreBroken(str(error))
    full = isinstance(error, (lmdb.MapFullError, lmdb.DiskError))
    return StoreFull(str(error)) if full else StoreError(str(error))
