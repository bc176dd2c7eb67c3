"""A handler that leaves files about."""

import os
from typing import Any

import anyio

from lmi_runtime import handler, request_tmpdir

met: dict[str, anyio.Event] = {}


@handler
async def main(event: Any, context: Any) -> str:
    folder = request_tmpdir()
    (folder / "small").write_text("x")
    if event.get("large"):
        (folder / "inner").mkdir()
        (folder / "inner" / "large").write_bytes(b"x" * 2**21)
    if event.get("fail"):
        raise ZeroDivisionError(os.fspath(folder))
    if path := event.get("fixed"):
        await meet(path)
    return os.fspath(folder)


async def meet(path: str) -> None:
    """Write a path while another request is about to."""
    first = path not in met
    mine = met.setdefault(path, anyio.Event())
    with open(path, "a") as file:  # noqa: ASYNC230
        file.write("x")
    if first:
        await mine.wait()
    else:
        mine.set()
