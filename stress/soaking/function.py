"""
The function that is soaked, in four forms. It does what the event asks and tells what it saw.

Runs inside the runtime, so it imports nothing of this folder.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

from lmi_runtime.context import current

Event = dict[str, Any]

_seen: ContextVar[str | None] = ContextVar("seen", default=None)


class Refusal(Exception):
    """What a call that is meant to fail raises."""


async def task(event: Event, context: Any) -> object:
    leaked = _enter(event)
    await _wait(event)
    return _result(event, leaked)


def thread(event: Event, context: Any) -> object:
    leaked = _enter(event)
    _wait_blocking(event)
    return _result(event, leaked)


async def stream(event: Event, context: Any) -> AsyncIterator[bytes]:
    leaked = _enter(event)
    await _wait(event)
    if event["act"] == "fail_midway":
        yield b"half of "
        await asyncio.sleep(0)
        raise Refusal(event["nonce"])
    for piece in _pieces(_result(event, leaked)):
        yield piece
        await asyncio.sleep(0)


def thread_stream(event: Event, context: Any) -> Iterator[bytes]:
    leaked = _enter(event)
    _wait_blocking(event)
    if event["act"] == "fail_midway":
        yield b"half of "
        raise Refusal(event["nonce"])
    for piece in _pieces(_result(event, leaked)):
        yield piece
        if event["act"] == "ballast":
            _wait_blocking(event)


def _enter(event: Event) -> str | None:
    """Leave a mark in this request's context; return one that another request has left."""
    leaked = _seen.get()
    _seen.set(event["nonce"])
    return leaked


async def _wait(event: Event) -> None:
    try:
        await asyncio.sleep(event["wait_s"])
    except asyncio.CancelledError:
        # Cleaning up at the deadline may take a moment and await, too.
        await asyncio.sleep(0.001)
        raise


def _wait_blocking(event: Event) -> None:
    if event["wait_s"]:
        time.sleep(event["wait_s"])


def _result(event: Event, leaked: str | None) -> object:
    match event["act"]:
        case "fail":
            raise Refusal(event["nonce"])
        case "exit":
            raise SystemExit(event["nonce"])
        case "cancel":
            raise asyncio.CancelledError(event["nonce"])
        case "unencodable":
            return {"nonce": object()}
        case "oversized":
            return "x" * 7_000_000
        case "census":
            return {"pid": os.getpid(), "tasks": _open_tasks()}
    return {
        "nonce": event["nonce"],
        "seen": _seen.get(),
        "request_id": current().request_id,
        "leaked": leaked,
        "ballast": "b" * event["ballast"],
    }


def _pieces(result: object) -> Iterator[bytes]:
    text = json.dumps(result).encode()
    third = len(text) // 3 + 1
    for start in range(0, len(text), third):
        yield text[start : start + third]


def _open_tasks() -> int:
    # From a handler's thread there is no asking the loop; the collector knows all of them.
    return sum(isinstance(one, asyncio.Task) and not one.done() for one in gc.get_objects())
