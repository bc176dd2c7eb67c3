"""The emulator runs on asyncio, with either loop."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(
            ("asyncio", {"use_uvloop": True}),
            id="uvloop",
            # uvloop swallows what the handler of an alarm raises: only a thread ends a hang.
            marks=pytest.mark.timeout(method="thread"),
        ),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """The loops the emulator runs on; trio is not among them."""
    name, options = request.param
    if options["use_uvloop"]:
        pytest.importorskip("uvloop")
    return name, options
