"""Serve a handler of a page in the embedded emulator, call it, and compare what it says."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from lmi_runtime.emulator import Answer, Emulator, EmulatorOptions, LocalEnvironment
from tests.docs.blocks import REPOSITORY
from tests.support.patience import PATIENCE_S

_CALL = re.compile(
    r"(?P<handler>[\w.]+): (?P<event>.*?)(?: (?P<kind>->|=>) (?P<expected>.*))?\Z", re.DOTALL
)

TRACED = {
    "X-Amzn-Trace-Id": "Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=1"
}
"""What calls bring along, as Lambda's own do."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call, as a page describes it. `as_text` compares what came back as it is."""

    handler: str
    event: bytes
    expected: str | None
    as_text: bool


def read_call(text: str) -> Call:
    """
    Read ``app.handle: EVENT -> ANSWER``.

    Raises:
        ValueError: It is written otherwise, or the event is not JSON.
    """
    said = _CALL.match(text)
    if said is None:
        raise ValueError(f"not a call: {text!r}")
    json.loads(said["event"])
    return Call(said["handler"], said["event"].encode(), said["expected"], said["kind"] == "=>")


@asynccontextmanager
async def serving(
    handler: str, folder: Path, variables: Mapping[str, str] | None = None
) -> AsyncIterator[Emulator]:
    """
    Serve *handler* from *folder*, with *variables* in its environment.

    No rule of the Runtime API may have been broken at the end.
    """
    command = [sys.executable, "-m", "lmi_runtime", handler]
    options = EmulatorOptions(max_concurrency=4, timeout_s=int(PATIENCE_S), handler=handler)
    env = {"LMI_VCPUS": "1", "PYTHONPATH": str(REPOSITORY), **(variables or {})}
    async with LocalEnvironment(command, options, env=env, cwd=folder) as environment:
        await _wait_ready(environment)
        yield environment.emulator
        environment.emulator.assert_clean()


async def _wait_ready(environment: LocalEnvironment) -> None:
    """
    Wait for the first poll.

    Raises:
        AssertionError: The runtime has exited instead; carries what it wrote.
    """
    ready = asyncio.ensure_future(environment.emulator.wait_ready())
    exited = asyncio.ensure_future(environment.wait_exited())
    try:
        await asyncio.wait({ready, exited}, return_when=asyncio.FIRST_COMPLETED)
        written = "\n".join(line.text for line in environment.log.lines)
        assert ready.done(), f"the runtime did not start:\n{written}"
    finally:
        ready.cancel()
        exited.cancel()


def mismatch(call: Call, answer: Answer) -> str | None:
    """Say in which way *answer* is not what the page promises, or return None."""
    wanted = call.expected
    if wanted is not None and wanted.startswith("!"):
        return None if answer.error_type == wanted[1:] else f"{answer.error_type} is not {wanted}"
    if answer.error_type is not None:
        return f"{answer.error_type}: {answer.body.decode()}"
    got = answer.body.decode()
    if wanted is None:
        return None
    if call.as_text:
        return None if got == wanted else f"{got!r} is not {wanted!r}"
    return None if _is_part(json.loads(wanted), json.loads(got)) else f"{got} is not {wanted}"


def _is_part(wanted: object, got: object) -> bool:
    if isinstance(wanted, dict) and isinstance(got, dict):
        return all(key in got and _is_part(value, got[key]) for key, value in wanted.items())
    return wanted == got
