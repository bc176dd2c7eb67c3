"""Clients without an AWS."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lmi_runtime import _sync
from lmi_runtime.context import WorkerFacts, set_worker, worker
from tests.support.aws_stub import AwsStub

pytest.importorskip("boto3")

from lmi_runtime.integrations.boto import clients
from lmi_runtime.integrations.changes import BOTOCORE
from lmi_runtime.integrations.safety import make_safe


@pytest.fixture(scope="package", autouse=True)
def _safe() -> None:
    import s3transfer.futures  # type: ignore[import-untyped]  # noqa: F401

    patched = set(make_safe().patched)
    assert patched >= {change.utility for change in BOTOCORE}


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nobody's credentials, and no other place to look for some."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "_X_AMZN"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "function")
    monkeypatch.setattr(clients, "_makers", _sync.ProcessWide(dict))
    yield
    for maker in clients._makers().values():
        maker.close()


@pytest.fixture
def stub() -> Iterator[AwsStub]:
    with AwsStub() as server:
        yield server


@pytest.fixture
def make(stub: AwsStub) -> Callable[..., Any]:
    """`client`, of the stub."""

    def make(service: str, **options: Any) -> Any:
        options.setdefault("endpoint_url", stub.url)
        return clients.client(service, region="eu-west-1", **options)

    return make


@pytest.fixture
def slots() -> Iterator[Callable[[int], None]]:
    before = worker()
    yield lambda count: set_worker(WorkerFacts(slots=count))
    set_worker(before)
