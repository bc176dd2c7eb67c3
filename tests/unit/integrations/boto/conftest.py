"""Clients without an AWS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lmi_runtime import _sync
from lmi_runtime.context import WorkerFacts, set_worker, worker
from tests.support.aws_environ import be_nobody
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
def _aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    be_nobody(monkeypatch)
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
