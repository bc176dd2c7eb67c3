"""Stores and caches in a folder of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lmi_runtime._sync.files import LockFile
from lmi_runtime.caches.model import Clock
from lmi_runtime.caches.shared import SharedCache
from lmi_runtime.caches.shared.lmdb import LmdbBackend
from lmi_runtime.caches.shared.sqlite import SqliteBackend
from lmi_runtime.caches.shared.store import Backend, Session

OpenStore = Callable[..., Session]


@pytest.fixture(params=["sqlite", "lmdb"])
def kind(request: pytest.FixtureRequest) -> str:
    """Every store."""
    if request.param == "lmdb":
        pytest.importorskip("lmdb")
    name: str = request.param
    return name


@pytest.fixture
def open_store(kind: str, tmp_path: Path) -> Iterator[OpenStore]:
    """Open sessions with one store of that kind."""
    backends: dict[int, Backend] = {}
    sessions: list[Session] = []

    def open_one(max_bytes: int = 4 << 20) -> Session:
        if max_bytes not in backends:
            backends[max_bytes] = _backend(kind, tmp_path, max_bytes)
        sessions.append(backends[max_bytes].connect())
        return sessions[-1]

    yield open_one
    for session in sessions:
        session.close()
    for backend in backends.values():
        backend.close()


def _backend(kind: str, path: Path, max_bytes: int) -> Backend:
    if kind == "lmdb":
        return LmdbBackend(path, max_bytes=max_bytes, max_readers=64)
    locks = LockFile(path / "locks")
    return SqliteBackend(path, max_bytes=max_bytes, locks=locks, writer_lock=1)


class Time:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def make_cache(kind: str, tmp_path: Path, time: Time) -> Iterator[Callable[..., SharedCache[Any]]]:
    """Make caches that share one folder and one clock."""
    made: list[SharedCache[Any]] = []

    def make(name: str = "test", **options: Any) -> SharedCache[Any]:
        options.setdefault("store", kind)
        clock = Clock(time, time)
        made.append(SharedCache(name, directory=tmp_path, clock=clock, **options))
        return made[-1]

    yield make
    for cache in made:
        cache.close()
