"""AWS clients against a local stand-in for AWS."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import Context
from typing import Any

import pytest

from lmi_runtime import _sync, context
from lmi_runtime.context import Request, WorkerFacts, set_worker, worker
from lmi_runtime.errors import PoolTimeout
from lmi_runtime.model import Invocation
from lmi_runtime.pools import registry
from tests.support.counting_budget import CountingBudget

pytest.importorskip("boto3")
moto_server = pytest.importorskip("moto.server")

from botocore.config import Config  # type: ignore[import-untyped]  # noqa: E402
from botocore.exceptions import (  # type: ignore[import-untyped]  # noqa: E402
    UnknownServiceError,
)

from lmi_runtime.integrations.boto import client, clients  # noqa: E402

pytestmark = pytest.mark.system

REGION = "eu-central-1"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto_server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[None]:
    """Nobody's credentials, and no other place to look for some."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    clients._session = None
    yield
    for made in list(clients._clients.values()):
        registry.forget(made)
        made.close_now(1.0)


@pytest.fixture
def slots() -> Iterator[Callable[[int], None]]:
    before = worker()
    yield lambda count: set_worker(WorkerFacts(slots=count))
    set_worker(before)


def together(count: int, job: Callable[[], Any]) -> list[Any]:
    """What `count` threads got from `job`, started at one barrier."""
    barrier = threading.Barrier(count)
    results: list[Any] = []

    def body() -> None:
        barrier.wait(10)
        results.append(job())

    threads = [threading.Thread(target=body) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def test_everybody_gets_the_same_client(endpoint: str) -> None:
    made = together(8, lambda: client("s3", region=REGION, endpoint_url=endpoint))

    assert len(made) == 8
    assert len({id(each) for each in made}) == 1
    made[0].create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
    assert [b["Name"] for b in made[0].list_buckets()["Buckets"]] == ["bucket"]


def test_other_arguments_make_another_client(endpoint: str) -> None:
    config = Config(read_timeout=5)
    one = client("sqs", region=REGION, endpoint_url=endpoint)
    other = client("sqs", region="eu-west-1", endpoint_url=endpoint)
    third = client("sqs", region=REGION, endpoint_url=endpoint, config=config)

    assert len({id(one), id(other), id(third)}) == 3
    assert client("sqs", region=REGION, endpoint_url=endpoint, config=config) is third


def test_no_connection_is_discarded_when_every_slot_is_busy(
    endpoint: str, slots: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    """botocore keeps 10 connections by default, and logs a warning for each one beyond."""
    slots(24)
    sqs = client("sqs", region=REGION, endpoint_url=endpoint)
    with caplog.at_level(logging.WARNING, "urllib3.connectionpool"):
        for _ in range(3):
            together(24, sqs.list_queues)

    assert sqs.meta.config.max_pool_connections == 24
    assert caplog.messages == []


def test_a_config_has_the_last_word(slots: Callable[[int], None]) -> None:
    slots(24)
    made = client("sqs", region=REGION, config=Config(max_pool_connections=3, tcp_keepalive=False))

    assert made.meta.config.max_pool_connections == 3
    assert made.meta.config.tcp_keepalive is False
    silent = client("sqs", region=REGION, config=Config(read_timeout=5)).meta.config
    assert (silent.tcp_keepalive, silent.max_pool_connections) == (True, 24)


def test_a_small_worker_keeps_what_file_transfers_need(slots: Callable[[int], None]) -> None:
    slots(1)

    assert client("sqs", region=REGION).meta.config.max_pool_connections == 10


def test_an_unknown_service_is_told_of_and_not_kept() -> None:
    for _ in range(2):
        with pytest.raises(UnknownServiceError):
            client("nothing", region=REGION)


# ------------------------------------------------------------------------ budgets


def test_a_client_takes_its_share_of_the_budget_once(slots: Callable[[int], None]) -> None:
    slots(3)
    budget = CountingBudget(20)
    made = together(5, lambda: client("sqs", region=REGION, budget=budget))

    assert len({id(each) for each in made}) == 1
    assert budget.taken == 3
    assert made[0].meta.config.max_pool_connections == 3


def test_a_budget_that_is_spent_is_told_of_and_nothing_is_kept_of_it(
    slots: Callable[[int], None],
) -> None:
    slots(3)
    budget = CountingBudget(2)

    def serve() -> None:
        invocation = Invocation(request_id="r", deadline_s=_sync.monotonic() + 0.05)
        context.enter(Request(invocation))
        with pytest.raises(PoolTimeout):
            client("sqs", region=REGION, budget=budget)

    Context().run(serve)

    assert budget.taken == 0


def test_a_client_that_cannot_be_made_gives_its_share_back(slots: Callable[[int], None]) -> None:
    slots(3)
    budget = CountingBudget(3)
    with pytest.raises(UnknownServiceError):
        client("nothing", region=REGION, budget=budget)

    assert budget.taken == 0


def test_closing_gives_the_share_back_and_the_next_to_ask_gets_another(
    slots: Callable[[int], None],
) -> None:
    slots(3)
    budget = CountingBudget(3)
    first = client("sqs", region=REGION, budget=budget)
    (entry,) = clients._clients.values()
    entry.close_now(1.0)

    assert budget.taken == 0
    assert client("sqs", region=REGION, budget=budget) is not first


# -------------------------------------------------------------------------- forks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="not run: there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_makes_its_own(endpoint: str) -> None:
    parents = client("sqs", region=REGION, endpoint_url=endpoint)
    parents.list_queues()
    with clients._lock:  # as if another thread were making a client
        child = os.fork()
        if child == 0:
            told = 1
            with suppress(BaseException):
                own = client("sqs", region=REGION, endpoint_url=endpoint)
                own.list_queues()
                told = 0 if own is not parents else 2
            os._exit(told)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert client("sqs", region=REGION, endpoint_url=endpoint) is parents
    parents.list_queues()
