"""Broken files, full disks, places that cannot be had: the cache does without."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmi_runtime import _sync
from lmi_runtime._sync.files import LockFile
from lmi_runtime.caches.shared import SharedCache
from lmi_runtime.caches.shared import places as places_module
from lmi_runtime.caches.shared.sqlite import SqliteSession
from lmi_runtime.caches.shared.store import StoreBroken, StoreError, StoreFull

MakeCache = Callable[..., SharedCache[Any]]
WARNINGS = "lmi_runtime.caches"
ONLY_SQLITE = pytest.mark.parametrize("kind", ["sqlite"])


def store_files(path: Path) -> list[Path]:
    return [one for one in path.glob("*/store-*/*") if one.suffix in {".db", ".mdb"}]


def make_garbage(path: Path) -> None:
    """Overwrite the store's files, as long as they are."""
    for file in [*store_files(path), *path.glob("*/store-*/*-wal")]:
        if file.name != "lock.mdb":
            file.write_bytes(os.urandom(max(file.stat().st_size, 8192)))


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == WARNINGS]


def test_a_store_that_is_garbage_is_set_aside_and_begun_anew(
    make_cache: MakeCache, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = make_cache()
    first.set("k", 1)
    first.close()
    make_garbage(tmp_path)

    cache = make_cache()
    assert cache.get("k") is None
    assert cache.get_or_load("k", lambda: 2) == 2
    assert cache.get("k") == 2

    assert cache.statistics().store_resets == 1
    assert len(messages(caplog)) == 1
    assert "set aside" in messages(caplog)[0]
    assert list(tmp_path.glob("*/broken"))


def test_a_changed_byte_of_a_value_is_noticed(
    make_cache: MakeCache, kind: str, tmp_path: Path
) -> None:
    value = "findable" * 50
    first = make_cache()
    first.set("k", value)
    first.close()
    for file in store_files(tmp_path):
        content = file.read_bytes()
        file.write_bytes(content.replace(b"findable", b"changed!"))

    cache = make_cache()
    assert cache.get("k") is None
    cache.set("k", "again")
    assert cache.get("k") == "again"
    assert cache.statistics().store_resets == 1


def test_all_users_of_a_store_go_on_to_the_next_one(make_cache: MakeCache, kind: str) -> None:
    cache = make_cache()
    cache.set("k", 1)
    place = cache._vault.place()
    assert place is not None

    # As another process does that found it broken.
    assert place.set_aside(place.epoch)
    assert cache.get("k") is None
    cache.set("k", 2)
    assert cache.get("k") == 2


def test_of_those_who_find_a_store_broken_one_sets_it_aside(make_cache: MakeCache) -> None:
    cache = make_cache()
    cache.set("k", 1)
    place = cache._vault.place()
    assert place is not None
    epoch = place.epoch

    assert [place.set_aside(epoch) for _ in range(3)] == [True, False, False]
    assert place.epoch == epoch + 1


@pytest.mark.parametrize("error", [StoreFull("no space"), StoreError("I/O"), StoreBroken("bad")])
@ONLY_SQLITE
def test_a_store_that_fails_fails_no_request(
    make_cache: MakeCache,
    monkeypatch: pytest.MonkeyPatch,
    error: StoreError,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = make_cache()

    def fail(*args: object, **kwargs: object) -> None:
        raise error

    for name in ("get", "put", "delete", "moment", "mark", "clear", "usage"):
        monkeypatch.setattr(SqliteSession, name, fail)

    for _ in range(3):
        assert cache.get_or_load("k", lambda: 1) == 1
        assert cache.get("k") is None
        cache.set("k", 2)
        assert not cache.delete("k")
        cache.invalidate(tag="t")
        cache.clear()
    assert cache.statistics().entries == 0
    assert cache.statistics().store_failures > 9
    assert len(messages(caplog)) == 1


@ONLY_SQLITE
def test_tags_that_cannot_be_looked_up_count_as_invalidated(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache()
    cache.set("k", 1, tags=["t"])
    assert cache.get("k") == 1

    def fail(*args: object) -> None:
        raise StoreError("I/O")

    monkeypatch.setattr(SqliteSession, "newest_mark", fail)
    assert cache.get("k") is None


def test_a_place_that_cannot_be_had_is_tried_again_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    cache = SharedCache[int](directory=blocked / "sub", store="sqlite")
    now_s = _sync.monotonic()
    monkeypatch.setattr(_sync, "monotonic", lambda: now_s)

    assert cache.get_or_load("k", lambda: 1) == 1
    blocked.unlink()
    now_s += 2
    assert cache.get_or_load("k", lambda: 2) == 2
    assert cache.get("k") == 2
    assert len(messages(caplog)) == 1
    cache.close()


def test_a_place_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    first = SharedCache[int](directory=tmp_path, store="sqlite")
    first.set("k", 1)
    first.close()
    next(tmp_path.glob("cache-*")).chmod(0o755)

    cache = SharedCache[int]("cache", directory=tmp_path / ".", store="sqlite")
    cache._vault._place = None
    assert cache.get("k") is None
    cache.close()


def test_files_are_for_this_user_alone(make_cache: MakeCache, tmp_path: Path) -> None:
    make_cache().set("k", 1)

    for path in tmp_path.glob("**/*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_without_a_directory_it_is_a_private_one_of_this_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "one")
    one = places_module.find_place("c", None, "sqlite")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "two")
    two = places_module.find_place("c", None, "sqlite")

    assert one != two
    assert one.parent.parent == two.parent.parent
    assert one.parent.parent.parent == tmp_path
    assert one.parent.parent.stat().st_mode & 0o777 == 0o700


@ONLY_SQLITE
def test_a_disk_that_is_full_is_not_taken_for_the_limit(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is evicted: it would not help."""
    cache = make_cache()
    cache.set("k", 1)
    _, session = cache._vault._idle[0]
    assert isinstance(session, SqliteSession)

    def full(statement: str, values: object = ()) -> Any:
        if statement.startswith("INSERT"):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return session._connection.execute(statement, values)  # type: ignore[arg-type]

    monkeypatch.setattr(session, "_execute", full)
    cache.set("other", 2)
    assert cache.get("other") is None
    assert cache.get("k") == 1


def test_locks_that_cannot_be_had_do_not_keep_from_loading(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache()
    assert cache.get("k") is None

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(LockFile, "try_lock", fail)
    assert cache.get_or_load("k", lambda: 1) == 1


@ONLY_SQLITE
def test_a_writer_that_is_never_let_go_of_is_not_waited_for_for_ever(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmi_runtime.caches.shared.sqlite._LONGEST_WAIT_S", 0.02)
    cache = make_cache()
    cache.set("k", 1)
    place = cache._vault.place()
    assert place is not None
    held = place.locks.try_lock(places_module.WRITER_LOCK)
    assert held is not None

    cache.set("k", 2)
    assert cache.get("k") == 1
    held.release()
    cache.set("k", 3)
    assert cache.get("k") == 3


def test_a_store_that_is_set_aside_while_it_is_opened_is_no_trouble(
    make_cache: MakeCache, caplog: pytest.LogCaptureFixture
) -> None:
    """Its files are gone half-way; the next store is opened instead, at once."""
    cache = make_cache()
    vault = cache._vault
    opened: list[int] = []
    open_store = vault._open_store

    def open_late(path: Path, place: places_module.Place) -> Any:
        opened.append(place.epoch)
        if len(opened) == 1:
            assert place.set_aside(place.epoch)
            raise StoreError("no such file")
        return open_store(path, place)

    vault._open_store = open_late
    cache.set("k", 1)

    assert cache.get("k") == 1
    assert opened == [0, 1]
    assert messages(caplog) == []
    assert cache.statistics().store_failures == 0
