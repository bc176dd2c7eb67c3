"""The event loop of a process is the one that was asked for, and outlives its tasks' mistakes."""

from __future__ import annotations

import asyncio
import builtins
import logging
from typing import Any

import pytest

from lmi_runtime.bootstrap.loops import run_loop
from lmi_runtime.model import Settings


def settings(**choices: Any) -> Settings:
    return Settings(handler="app.handler", runtime_api="127.0.0.1:1", **choices)


async def loop_type() -> str:
    return type(asyncio.get_running_loop()).__module__.split(".")[0]


def which(chosen: Settings) -> str:
    seen: list[str] = []

    async def look() -> int:
        seen.append(await loop_type())
        return 7

    assert run_loop(look, chosen) == 7
    return seen[0]


def without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **options: Any) -> Any:
        if name == "uvloop":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)


@pytest.fixture(autouse=True)
def _leave_no_loop() -> Any:
    yield
    asyncio.get_event_loop().close()
    asyncio.set_event_loop(None)


@pytest.mark.parametrize("asked", [None, True])
def test_uvloop_is_used_where_it_is_installed(asked: bool | None) -> None:
    pytest.importorskip("uvloop")

    assert which(settings(use_uvloop=asked)) == "uvloop"


def test_uvloop_is_left_alone_on_request() -> None:
    assert which(settings(use_uvloop=False)) == "asyncio"


@pytest.mark.parametrize(("asked", "warns"), [(None, False), (True, True)])
def test_without_uvloop_asyncios_loop_serves(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    asked: bool | None,
    warns: bool,
) -> None:
    without_uvloop(monkeypatch)

    assert which(settings(use_uvloop=asked)) == "asyncio"
    assert ("asks for uvloop, which is not installed" in caplog.text) is warns


@pytest.mark.parametrize("use_uvloop", [False, True])
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_task_that_exits_does_not_take_the_process_along(
    caplog: pytest.LogCaptureFixture, kind: type[BaseException], use_uvloop: bool
) -> None:
    if use_uvloop:
        pytest.importorskip("uvloop")

    async def serve() -> int:
        async def leave() -> None:
            raise kind("now")

        task = asyncio.create_task(leave())
        await asyncio.wait({task})
        assert isinstance(task.exception(), kind)
        return 7

    assert run_loop(serve, settings(use_uvloop=use_uvloop)) == 7
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[0] is kind


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, RuntimeError])
def test_the_main_task_may_end_the_process(kind: type[BaseException]) -> None:
    async def serve() -> int:
        raise kind("now")

    with pytest.raises(kind, match="now"):
        run_loop(serve, settings(use_uvloop=False))


def test_trio_runs_what_was_asked_for() -> None:
    trio = pytest.importorskip("trio")
    asyncio.set_event_loop(asyncio.new_event_loop())  # for the fixture to close

    async def serve() -> int:
        await trio.lowlevel.checkpoint()
        return 7

    assert run_loop(serve, settings(backend="trio")) == 7
