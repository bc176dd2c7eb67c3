"""A recorder on Lambda, and one elsewhere, both made safe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("aws_xray_sdk")

from lmi_runtime.integrations import make_safe, trace_header
from tests.support.xray_daemon import Daemon, daemon, recording


@pytest.fixture(autouse=True, scope="session")
def _safe() -> None:
    make_safe()


@pytest.fixture(autouse=True)
def _untold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(trace_header.VARIABLE, raising=False)
    monkeypatch.setattr(trace_header, "_warned", {})


@pytest.fixture(name="daemon")
def _daemon() -> Iterator[Daemon]:
    with daemon() as made:
        yield made


@pytest.fixture
def on_lambda(daemon: Daemon, _safe: None) -> Iterator[Any]:
    """A recorder whose segments the platform makes."""
    from aws_xray_sdk.core.lambda_launcher import LambdaContext

    with recording(daemon, LambdaContext()) as recorder:
        yield recorder


@pytest.fixture
def elsewhere(daemon: Daemon, _safe: None) -> Iterator[Any]:
    """A recorder whose segments are begun by hand, and sent as a whole."""
    from aws_xray_sdk.core.context import Context

    with recording(daemon, Context(), streaming_threshold=30) as recorder:
        yield recorder
