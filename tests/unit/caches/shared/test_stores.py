"""What every store does with records, marks, and too many of either."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmi_runtime._sync.files import LockFile
from lmi_runtime.caches.shared import lmdb as lmdb_store
from lmi_runtime.caches.shared import sqlite as sqlite_store
from lmi_runtime.caches.shared.store import Session
from tests.unit.caches.shared.conftest import OpenStore

MIB = 1 << 20


def put(session: Session, key: bytes, data: bytes = b"data") -> bool:
    return session.put(key, data, since=None, names=())


def test_what_one_session_writes_another_one_reads(open_store: OpenStore) -> None:
    one, other = open_store(), open_store()

    assert put(one, b"k", b"v")

    assert other.get(b"k") == (0, b"v")
    assert other.get(b"K") is None


def test_the_last_write_of_a_key_counts(open_store: OpenStore) -> None:
    session = open_store()
    put(session, b"k", b"1")
    put(session, b"other")

    put(session, b"k", b"22")

    assert session.get(b"k") == (0, b"22")
    assert session.usage().entries == 2


def test_a_deleted_key_is_gone_and_its_load_is_not_kept(open_store: OpenStore) -> None:
    session = open_store()
    put(session, b"k")
    since = session.moment(b"k")

    assert session.delete(b"k", b"kname")
    assert not session.delete(b"k", b"kname")

    assert not session.put(b"k", b"old", since=since, names=(b"kname",))
    assert session.get(b"k") is None
    assert session.put(b"k", b"new", since=session.moment(b"k"), names=(b"kname",))


def test_a_load_that_began_before_a_mark_is_not_kept(open_store: OpenStore) -> None:
    session = open_store()
    since = session.moment(b"k")

    session.mark(b"tag")

    assert not session.put(b"k", b"v", since=since, names=(b"other", b"tag"))
    assert session.put(b"k", b"v", since=since, names=(b"other",))


def test_a_load_does_not_replace_what_was_set_meanwhile(open_store: OpenStore) -> None:
    session = open_store()
    put(session, b"k", b"before")
    since = session.moment(b"k")
    put(session, b"k", b"set")

    assert not session.put(b"k", b"loaded", since=since, names=())

    found = session.get(b"k")
    assert found is not None
    assert found[1] == b"set"


def test_a_load_replaces_what_was_there_when_it_began(open_store: OpenStore) -> None:
    session = open_store()
    put(session, b"k", b"before")
    put(session, b"other")

    assert session.put(b"k", b"loaded", since=session.moment(b"k"), names=())


def test_marks_are_newer_than_what_was_written_before_them(open_store: OpenStore) -> None:
    session = open_store()
    assert session.newest_mark((b"tag",)) == 0
    put(session, b"before")

    session.mark(b"tag")
    put(session, b"after")

    before, after = session.get(b"before"), session.get(b"after")
    assert before is not None and after is not None
    assert before[0] < session.newest_mark((b"other", b"tag")) <= after[0]
    assert session.newest_mark((b"other",)) == 0


def test_clearing_removes_everything_and_stops_loads_and_tags(open_store: OpenStore) -> None:
    session = open_store()
    put(session, b"k")
    session.mark(b"tag")
    since = session.moment(b"k")

    session.clear()

    assert session.get(b"k") is None
    assert session.usage().entries == 0
    assert not session.put(b"k", b"v", since=since, names=())
    assert session.newest_mark((b"never seen",)) > since.seq
    assert put(session, b"k")


@pytest.mark.parametrize("most", [5])
def test_too_many_marks_are_forgotten_on_the_safe_side(
    open_store: OpenStore, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "_MOST_MARKS", most)
    monkeypatch.setattr(lmdb_store, "_MOST_MARKS", most)
    session = open_store()
    put(session, b"k")
    before = session.get(b"k")

    for number in range(most + 1):
        session.mark(b"t%d" % number)

    assert before is not None
    assert session.newest_mark((b"never marked",)) > before[0]
    assert session.usage().entries == 1


def test_a_full_store_makes_room_and_keeps_within_its_limit(open_store: OpenStore) -> None:
    session = open_store(MIB)
    value = os.urandom(1000)

    for number in range(3000):
        assert put(session, b"k%d" % number, value)

    usage = session.usage()
    assert usage.used_bytes <= MIB
    assert usage.entries * 1000 > MIB * 0.3
    newest = [session.get(b"k%d" % number) for number in range(2900, 3000)]
    oldest = [session.get(b"k%d" % number) for number in range(100)]
    assert newest.count(None) <= 25
    assert oldest.count(None) >= 75


@pytest.mark.parametrize("kind", ["sqlite"])  # the other one looks at samples
def test_sqlite_evicts_the_oldest_first(open_store: OpenStore) -> None:
    session = open_store(MIB)

    for number in range(3000):
        put(session, b"k%d" % number, bytes(1000))

    kept = [session.get(b"k%d" % number) is not None for number in range(3000)]
    assert kept == sorted(kept)
    assert kept[-1] and not kept[0]


def test_large_values_find_room_and_too_large_ones_are_refused(open_store: OpenStore) -> None:
    session = open_store(MIB)
    large, too_large = bytes(MIB // 10), bytes(MIB // 10 + 1)

    for number in range(30):
        assert put(session, b"k%d" % number, large)
        put(session, b"small%d" % number, bytes(100))

    assert not put(session, b"too large", too_large)
    assert session.get(b"too large") is None
    assert session.get(b"k29") == (0, large)
    assert session.usage().used_bytes <= MIB


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.sampled_from(range(6)), st.binary(max_size=9000)),
            st.tuples(st.just("delete"), st.sampled_from(range(6))),
            st.tuples(st.just("clear")),
        ),
        max_size=30,
    )
)
def test_a_store_is_a_dictionary_while_there_is_room(
    open_store: OpenStore, steps: list[tuple[object, ...]]
) -> None:
    session, model = open_store(), dict[bytes, bytes]()
    session.clear()

    for step in steps:
        match step:
            case ("put", key, bytes(data)):
                model[b"%d" % key] = data
                assert put(session, b"%d" % key, data)
            case ("delete", key):
                was_there = model.pop(b"%d" % key, None) is not None
                assert session.delete(b"%d" % key, b"k") == was_there
            case _:
                model.clear()
                session.clear()

    found = {b"%d" % key: session.get(b"%d" % key) for key in range(6)}
    assert {key: one[1] for key, one in found.items() if one is not None} == model
    assert session.usage().entries == len(model)


def test_who_begins_to_read_waits_for_no_writer(tmp_path: Path) -> None:
    locks = LockFile(tmp_path / "locks")
    backends = [
        sqlite_store.SqliteBackend(tmp_path, max_bytes=1 << 20, locks=locks, writer_lock=1)
        for _ in range(2)
    ]
    writer = backends[0].connect()
    put(writer, b"k")

    with backends[0].writing():
        readers = [backend.connect() for backend in backends]
        found = [reader.get(b"k") for reader in readers]

    assert found == [(0, b"data"), (0, b"data")]
    for session in (writer, *readers):
        session.close()
