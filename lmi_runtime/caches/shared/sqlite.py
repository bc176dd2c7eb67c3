"""A store in SQLite: nothing to install, and the file is checked as it is read."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

from lmi_runtime import _sync
from lmi_runtime._sync.files import Held, LockFile
from lmi_runtime.caches.shared.store import (
    Found,
    Moment,
    StoreBroken,
    StoreBusy,
    StoreError,
    StoreFull,
    StoreUsage,
)

__all__ = ["SqliteBackend"]

_PAGE_BYTES = 4096
_LONGEST_WAIT_S = 2.0
_EVICT_ROWS = 256
_EVICT_PAGES = 64
_MOST_MARKS = 16_384
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

# `id` grows with every write, so the oldest entry is the first, and new ones fill page after page.
_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, seq INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS marks (name BLOB PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counts (
    one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, floor INTEGER NOT NULL);
INSERT OR IGNORE INTO counts VALUES (1, 0, 0);
COMMIT;
"""
_GET = "SELECT seq, data FROM entries WHERE key = ?"
_PUT = "INSERT OR REPLACE INTO entries (key, seq, data) SELECT ?1, seq, ?2 FROM counts"
_PUT_SINCE = """
INSERT OR REPLACE INTO entries (key, seq, data) SELECT ?1, ?3, ?2 FROM counts
WHERE floor <= ?3
  AND NOT EXISTS (SELECT 1 FROM marks WHERE marks.seq > ?3 AND name IN ({names}))
  AND NOT EXISTS (SELECT 1 FROM entries WHERE key = ?1 AND id <> ?4)
"""
_MOMENT = "SELECT seq, coalesce((SELECT id FROM entries WHERE key = ?), 0) FROM counts"
_NEWEST = """
SELECT max(floor, coalesce((SELECT max(seq) FROM marks WHERE name IN ({names})), 0)) FROM counts
"""
_MARK = "INSERT OR REPLACE INTO marks SELECT ?, seq FROM counts"
_EVICT = """
DELETE FROM entries WHERE id <= coalesce(
    (SELECT id FROM entries ORDER BY id LIMIT 1 OFFSET ?1), (SELECT max(id) FROM entries))
"""


class SqliteBackend:
    """
    Sessions over one file in write-ahead mode: readers wait for nobody.

    Args:
        directory: Where the file is, or will be made.
        max_bytes: Limit of the file. The log beside it may take some MiB more.
        locks: Where `writer_lock` is.
        writer_lock: Number of the lock that writers take in turn.

    Thread safety: from any thread.
    """

    def __init__(
        self, directory: Path, *, max_bytes: int, locks: LockFile, writer_lock: int
    ) -> None:
        self._path = directory / "entries.db"
        self._max_bytes = max_bytes
        self._locks = locks
        self._writer_lock = writer_lock
        # Threads of one process ask for the lock of all processes one by one.
        self._turn = _sync.Lock()

    def connect(self) -> SqliteSession:
        """
        Raises:
            StoreError: The file cannot be opened, or is no database.
        """
        with translated():
            # SQLite gives its other files the mode of this one.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            connection = sqlite3.connect(
                self._path, timeout=0.1, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(connection)
                # Who only wants to read waits for no writer, unless there is nothing to read.
                if not _is_made(connection):
                    with self.writing():
                        connection.execute("PRAGMA journal_mode = WAL").fetchall()
                        connection.executescript(_SCHEMA)
            except BaseException:
                connection.close()
                raise
        return SqliteSession(self, connection, self._max_bytes)

    def close(self) -> None:
        """Nothing is shared between sessions."""

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """
        One writer at a time in all processes, woken sooner than by SQLite's own waiting.

        Raises:
            StoreBusy: It was others' turn for two seconds.
        """
        until_s = _sync.monotonic() + _LONGEST_WAIT_S
        if not self._turn.acquire(timeout=_LONGEST_WAIT_S):
            raise StoreBusy("Others were writing all the time.")
        try:
            held = self._wait_turn(until_s)
            try:
                yield
            finally:
                held.release()
        finally:
            self._turn.release()

    def _wait_turn(self, until_s: float) -> Held:
        held = self._locks.wait_lock(self._writer_lock, lambda: _sync.monotonic() > until_s)
        if held is None:
            raise StoreBusy("Others were writing all the time.")
        return held

    def _prepare(self, connection: sqlite3.Connection) -> None:
        pages = max(1, self._max_bytes // _PAGE_BYTES)
        for pragma in (
            f"page_size = {_PAGE_BYTES}",
            # What a crash of the machine would lose is lost with the machine: nobody waits for
            # the disk. A crash of a process loses nothing.
            "synchronous = OFF",
            f"mmap_size = {self._max_bytes}",
            f"max_page_count = {pages}",
            f"journal_size_limit = {min(4 << 20, self._max_bytes)}",
            "temp_store = MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()


def _is_made(connection: sqlite3.Connection) -> bool:
    try:
        return connection.execute("SELECT one FROM counts").fetchone() is not None
    except sqlite3.OperationalError:  # there are no tables, or somebody is making them
        return False


class SqliteSession:
    """
    One connection.

    Thread safety: one user at a time.
    """

    def __init__(
        self, backend: SqliteBackend, connection: sqlite3.Connection, max_bytes: int
    ) -> None:
        self._backend = backend
        self._connection = connection
        # A cache that nobody closed is collected together with its connection, about which Python
        # would complain: this closes it before, and refers to it until then.
        self._closing = weakref.finalize(self, _let_go, connection)
        self._closing.atexit = False
        self._execute = connection.execute
        self._largest_bytes = max_bytes // 10

    def get(self, key: bytes) -> Found | None:
        try:
            found: Found | None = self._execute(_GET, (key,)).fetchone()
        except sqlite3.Error as error:
            raise translate(error) from error
        return found

    def newest_mark(self, names: Sequence[bytes]) -> int:
        holes = ", ".join("?" * len(names))
        newest = (
            f"SELECT max(floor, coalesce((SELECT max(seq) FROM marks WHERE name IN ({holes})), 0))"
        )
        with translated():
            (seq,) = self._execute(f"{newest} FROM counts", tuple(names)).fetchone()
        return int(seq)

    def moment(self, key: bytes) -> Moment:
        with translated():
            return Moment(*self._execute(_MOMENT, (key,)).fetchone())

    def put(self, key: bytes, data: bytes, *, since: Moment | None, names: Sequence[bytes]) -> bool:
        if len(data) > self._largest_bytes:
            return False
        values: list[bytes | int] = [key, data]
        if since is None:
            statement = _PUT
        else:
            holes = ", ".join(f"?{number + 5}" for number in range(len(names)))
            statement = _PUT_SINCE.format(names=holes)
            values += [since.seq, since.row, *names]
        with translated(), self._backend.writing():
            return self._insert(statement, values, len(data))

    def delete(self, key: bytes, name: bytes) -> bool:
        with self._transaction():
            self._mark(name)
            return self._execute("DELETE FROM entries WHERE key = ?", (key,)).rowcount > 0

    def mark(self, name: bytes) -> None:
        with self._transaction():
            self._mark(name)

    def clear(self) -> None:
        with self._transaction():
            self._forget_marks()
            self._execute("DELETE FROM entries")

    def usage(self) -> StoreUsage:
        with translated():
            (entries,) = self._execute("SELECT count(*) FROM entries").fetchone()
            used = self._pragma("page_count") - self._pragma("freelist_count")
        return StoreUsage(entries, used * _PAGE_BYTES)

    def close(self) -> None:
        self._closing.detach()
        with translated():
            self._connection.close()

    def _insert(self, statement: str, values: list[bytes | int], size_bytes: int) -> bool:
        for _ in range(4):
            try:
                return self._execute(statement, values).rowcount > 0
            except sqlite3.Error as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._at_limit():
                    raise
            self._evict(size_bytes)
        return False

    def _at_limit(self) -> bool:
        """Whether it is our own limit that is reached, and not the disk that is full."""
        wanted = self._pragma("max_page_count") - self._largest_bytes // _PAGE_BYTES - 8
        return self._pragma("page_count") >= wanted

    def _evict(self, size_bytes: int) -> None:
        wanted = max(_EVICT_PAGES, 2 * size_bytes // _PAGE_BYTES + 8)
        with self._begun():
            while self._pragma("freelist_count") < wanted:
                if not self._execute(_EVICT, (_EVICT_ROWS,)).rowcount:
                    return

    def _mark(self, name: bytes) -> None:
        self._execute("UPDATE counts SET seq = seq + 1")
        self._execute(_MARK, (name,))
        (marks,) = self._execute("SELECT count(*) FROM marks").fetchone()
        if marks > _MOST_MARKS:
            self._forget_marks()

    def _forget_marks(self) -> None:
        # As if everything with a name had been invalidated now: never too little.
        self._execute("UPDATE counts SET seq = seq + 1, floor = seq + 1")
        self._execute("DELETE FROM marks")

    def _pragma(self, name: str) -> int:
        return int(self._execute(f"PRAGMA {name}").fetchone()[0])

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with translated(), self._backend.writing(), self._begun():
            yield

    @contextlib.contextmanager
    def _begun(self) -> Iterator[None]:
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                self._execute("ROLLBACK")
            raise


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn SQLite's errors, and the system's, into those of a store."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error) from error
    except OSError as error:
        raise StoreError(str(error)) from error


def translate(error: sqlite3.Error) -> StoreError:
    """What SQLite says, as a store says it."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what extended codes add
    if code in _BROKEN:
        return StoreBroken(str(error))
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(str(error))
    return StoreBusy(str(error)) if code in _BUSY else StoreError(str(error))


def _let_go(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):
        connection.close()
