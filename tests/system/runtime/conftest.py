"""One suite, two environments: ours and AWS's own. Environments are shared where state allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psutil
import pytest

from tests.system.runtime.environments import Aws, Embedded, Runtime

Make = Callable[..., Runtime]
Key = tuple[Any, ...]

SERVERS = ("postgres", "redis-server", "valkey-server")
KINDS = [
    pytest.param(Embedded, id="embedded"),
    pytest.param(Aws, id="aws", marks=pytest.mark.rie),
]


class Environments:
    """Starts environments and keeps those that may be used again."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._shared: dict[Key, Runtime] = {}

    def start(self, make: Make, *args: Any, ready: int = 1, **options: Any) -> Runtime:
        runtime = make(*args, **options)
        runtime.__enter__()
        self._stack.callback(runtime.close)
        if ready:
            runtime.wait_ready(ready)
        return runtime

    def share(self, make: Make, *args: Any, **options: Any) -> Runtime:
        key = (make, args, repr(options))
        if key not in self._shared:
            self._shared[key] = self.start(make, *args, **options)
        return self._shared[key]

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="session")
def environments() -> Iterator[Environments]:
    """The environments that tests share; they end with the run, and leave no process behind."""
    before = set(psutil.Process().children(recursive=True))
    made = Environments()
    try:
        yield made
    finally:
        made.close()
    left = set(psutil.Process().children(recursive=True)) - before
    assert not [process for process in left if _is_ours(process)]


def _is_ours(process: psutil.Process) -> bool:
    """Neither dead nor a server of other tests, which lasts as long as the run."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.name() not in SERVERS
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Make:
    """Makes an environment of the kind under test."""
    make: Make = request.param
    return make


@pytest.fixture
def start() -> Iterator[Callable[..., Any]]:
    """Start an environment for one test alone: `start(kind, handler, ...)`."""
    started: list[Runtime] = []
    made = Environments()

    def begin(make: Make, *args: Any, **options: Any) -> Runtime:
        started.append(made.start(make, *args, **options))
        return started[-1]

    try:
        yield begin
        for runtime in started:
            runtime.check()
    finally:
        made.close()


@pytest.fixture
def share(environments: Environments) -> Iterator[Callable[..., Any]]:
    """Use an environment that other tests use as well, at the same time in no case."""
    used: list[Runtime] = []

    def use(make: Make, *args: Any, **options: Any) -> Runtime:
        runtime = environments.share(make, *args, **options)
        used.append(runtime)
        return runtime

    yield use
    for runtime in used:
        runtime.check()
