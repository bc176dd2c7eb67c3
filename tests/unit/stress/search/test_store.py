"""The directory of examples keeps what failed, by subject."""

from __future__ import annotations

from pathlib import Path

from hypothesis.database import DirectoryBasedExampleDatabase

from lmi_runtime.stress.model import Deviation, Granularity
from lmi_runtime.stress.search import ExampleStore, Replay, encode


def replay(visits: int, subject: str = "app.handler") -> Replay:
    schedule = tuple(Deviation("preempt", 0, visit, 1) for visit in range(visits))
    return Replay(subject, Granularity.GIL, schedule, (None,) * visits)


def test_what_was_saved_is_there_the_next_time_smallest_first(tmp_path: Path) -> None:
    for visits in (3, 1, 2):
        ExampleStore(tmp_path).save(replay(visits))
    ExampleStore(tmp_path).save(replay(1, "other"))
    assert ExampleStore(tmp_path).load("app.handler") == (replay(1), replay(2), replay(3))


def test_what_was_forgotten_is_gone(tmp_path: Path) -> None:
    store = ExampleStore(tmp_path)
    store.save(replay(1))
    store.save(replay(2))
    store.forget(replay(1))
    assert store.load("app.handler") == (replay(2),)


def test_what_cannot_be_read_is_dropped(tmp_path: Path) -> None:
    store = ExampleStore(tmp_path)
    store.save(replay(1))
    database = DirectoryBasedExampleDatabase(tmp_path)
    key = b"lmi-stress/app.handler"
    database.save(key, encode(replay(2)).encode()[:-3])
    database.save(key, b"\xff\xfe")
    assert store.load("app.handler") == (replay(1),)
    assert len(list(database.fetch(key))) == 1
