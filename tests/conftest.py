"""Fixtures and rules that hold in every folder of the suite."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.rie import rie_available

settings.register_profile(
    "ci",
    derandomize=True,  # a red run is red again on the next machine
    deadline=None,  # shared machines stall; pytest-timeout ends what hangs
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("brief", parent=settings.get_profile("ci"), max_examples=20)
settings.register_profile("dev", deadline=None)
settings.register_profile("thorough", parent=settings.get_profile("dev"), max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


def _backends() -> list[Any]:
    """Every event loop we claim to run on; one without its library shows up as skipped."""
    return [
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("trio", {}), id="trio"),
    ]


@pytest.fixture(params=_backends())
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """
    The event loop that an `anyio` test runs on: one run for each.

    Loops that one test cannot use are left out with
    `@pytest.mark.parametrize("anyio_backend", ["asyncio"])`.
    """
    name, options = request.param
    if name == "trio":
        pytest.importorskip("trio")
    elif options["use_uvloop"]:
        pytest.importorskip("uvloop")
    return name, options


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("rie") is None or (reason := rie_available()) is None:
        return
    if os.environ.get("LMI_REQUIRE_RIE") == "1":
        pytest.fail(f"AWS's emulator must run here: {reason}", pytrace=False)
    pytest.skip(f"not run: {reason}")
