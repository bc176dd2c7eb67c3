"""AWS clients against a local stand-in for AWS."""

from __future__ import annotations

import io
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import anyio
import pytest

from lmi_runtime import _sync
from lmi_runtime.context import WorkerFacts, set_worker, worker
from lmi_runtime.errors import LoadTimeout, PoolClosed, PoolTimeout
from lmi_runtime.pools import registry
from tests.support.aws_environ import be_nobody
from tests.support.aws_stub import AwsStub
from tests.support.counting_budget import CountingBudget
from tests.support.crowd import TaskCrowd, ThreadCrowd
from tests.support.moto_server import moto
from tests.support.patience import PATIENCE_S
from tests.support.requests import serving

pytest.importorskip("boto3")
pytest.importorskip("moto.server")

import boto3  # type: ignore[import-untyped]
from boto3.s3.transfer import TransferConfig  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import (  # type: ignore[import-untyped]
    UnknownServiceError,
)

from lmi_runtime.integrations.boto import aclient, call, client, clients, sessions
from lmi_runtime.integrations.safety import make_safe

pytestmark = pytest.mark.system

REGION = "eu-central-1"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with moto() as url:
        yield url


@pytest.fixture
def stub() -> Iterator[AwsStub]:
    with AwsStub() as server:
        yield server


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    be_nobody(monkeypatch)
    make_safe()
    monkeypatch.setattr(clients, "_makers", _sync.ProcessWide(dict))
    monkeypatch.setattr(clients, "_session", _sync.ProcessWide(boto3.session.Session))
    yield
    for maker in clients._makers().values():
        maker.close()


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
        barrier.wait(PATIENCE_S)
        results.append(job())

    threads = [threading.Thread(target=body) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    return results


def test_everybody_gets_the_same_client(stub: AwsStub) -> None:
    made = together(8, lambda: client("sqs", region=REGION, endpoint_url=stub.url))

    assert len(made) == 8
    assert len({id(each) for each in made}) == 1
    made[0].list_queues()
    assert len(stub.calls) == 1


def test_other_arguments_make_another_client() -> None:
    config = Config(read_timeout=5)
    one = client("sqs", region=REGION)
    other = client("sqs", region="eu-west-1")
    third = client("sqs", region=REGION, config=config)

    assert len({id(one), id(other), id(third)}) == 3
    assert client("sqs", region=REGION, config=config) is third


def test_no_connection_is_discarded_when_every_slot_is_busy(
    stub: AwsStub, slots: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    """botocore keeps 10 connections by default, and logs a warning for each one beyond."""
    slots(24)
    sqs = client("sqs", region=REGION, endpoint_url=stub.url)
    all_are_there = threading.Barrier(24)
    stub.before_answering = lambda: all_are_there.wait(PATIENCE_S)
    with caplog.at_level(logging.WARNING, "urllib3.connectionpool"):
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


def test_equal_configs_make_the_same_client() -> None:
    """A config that is made in a handler is another object for each request."""
    made = [client("sqs", region=REGION, config=Config(read_timeout=5)) for _ in range(3)]

    assert len({id(each) for each in made}) == 1


def test_a_session_makes_clients_of_its_own() -> None:
    session = boto3.session.Session(aws_access_key_id="other", aws_secret_access_key="other")
    made = client("sqs", region=REGION, session=session)

    assert made is client("sqs", region=REGION, session=session)
    assert made is not client("sqs", region=REGION)
    assert made._request_signer._credentials.access_key == "other"


def test_a_crowd_has_one_client_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    make = boto3.session.Session.client

    def making(self: Any, service_name: str, **options: Any) -> Any:
        made.append(service_name)
        return make(self, service_name, **options)

    monkeypatch.setattr(boto3.session.Session, "client", making)
    services = ("s3", "sqs", "ssm", "dynamodb")
    crowd = ThreadCrowd()

    def handle(number: int) -> int:
        crowd.meet()
        return id(client(services[number % 4], region=REGION))

    got = crowd.serve(handle)

    assert sorted(made) == sorted(services)
    assert len(set(got)) == 4


def test_a_request_waits_for_a_client_until_its_deadline_only() -> None:
    """Another thread has the session, for instance to wait for credentials."""
    release, held = threading.Event(), threading.Event()

    def hold() -> None:
        with sessions.turn(clients._session()._session):
            held.set()
            release.wait(PATIENCE_S)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(PATIENCE_S)
    with pytest.raises(LoadTimeout):
        serving(0.1, lambda: client("sqs", region=REGION))
    assert holder.is_alive()
    release.set()
    holder.join(PATIENCE_S)
    assert client("sqs", region=REGION).meta.region_name == REGION


def test_tasks_go_on_while_a_client_is_made(caplog: pytest.LogCaptureFixture) -> None:
    crowd = TaskCrowd()

    async def handle(number: int) -> int:
        await crowd.meet()
        return id(await aclient("ssm", region=REGION))

    with caplog.at_level(logging.WARNING, "lmi_runtime"):
        got = crowd.serve(handle)

    assert len(set(got)) == 1
    assert caplog.messages == []
    assert got[0] == id(client("ssm", region=REGION))


def test_a_loop_that_was_blocked_is_told_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "_SLOW_S", 0.0)

    async def main() -> None:
        client("sqs", region=REGION)

    with caplog.at_level(logging.WARNING, "lmi_runtime"):
        anyio.run(main)

    (message,) = caplog.messages
    assert message.startswith("boto.client('sqs') blocked the event loop for ")
    assert message.endswith("`await boto.aclient(...)` would not.")


# ----------------------------------------------------------------------- services


def test_threads_share_the_clients_of_several_services(endpoint: str) -> None:
    def service(name: str) -> Any:
        return client(name, region=REGION, endpoint_url=endpoint)

    service("dynamodb").create_table(
        TableName="table",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    url = service("sqs").create_queue(QueueName="queue")["QueueUrl"]
    crowd = ThreadCrowd(8)

    def handle(number: int) -> str:
        crowd.meet()
        name = f"name-{number}"
        service("ssm").put_parameter(Name=name, Value=f"v{number}", Type="String")
        value = service("ssm").get_parameter(Name=name)["Parameter"]["Value"]
        service("dynamodb").put_item(TableName="table", Item={"id": {"S": value}})
        service("sqs").send_message(QueueUrl=url, MessageBody=value)
        found: str = service("dynamodb").get_item(TableName="table", Key={"id": {"S": value}})[
            "Item"
        ]["id"]["S"]
        return found

    assert crowd.serve(handle) == [f"v{number}" for number in range(8)]
    counted = service("sqs").get_queue_attributes(
        QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"]
    )
    assert counted["Attributes"]["ApproximateNumberOfMessages"] == "8"


def test_tasks_send_files_in_parts(endpoint: str) -> None:
    s3 = client("s3", region=REGION, endpoint_url=endpoint)
    s3.create_bucket(Bucket="files", CreateBucketConfiguration={"LocationConstraint": REGION})
    parts = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    crowd = TaskCrowd(3)

    async def handle(number: int) -> bool:
        await crowd.meet()
        file = bytes([number]) * (6 << 20)
        key = f"key{number}"
        await call(s3.upload_fileobj, io.BytesIO(file), "files", key, Config=parts)
        back = io.BytesIO()
        await call(s3.download_fileobj, "files", key, back, Config=parts)
        return back.getvalue() == file

    assert crowd.serve(handle) == [True] * 3


def test_a_mock_within_the_process_is_asked_as_ever() -> None:
    with pytest.importorskip("moto").mock_aws():
        sqs = client("sqs", region=REGION)
        serving(PATIENCE_S, lambda: sqs.create_queue(QueueName="queue"))
        assert len(sqs.list_queues()["QueueUrls"]) == 1


# ------------------------------------------------------------------------ budgets


def test_a_client_takes_its_share_of_the_budget_once(slots: Callable[[int], None]) -> None:
    slots(3)
    budget = CountingBudget(20)
    made = together(5, lambda: client("sqs", region=REGION, budget=budget))

    assert len({id(each) for each in made}) == 1
    assert budget.taken == 3
    assert made[0].meta.config.max_pool_connections == 3


def test_those_who_wait_for_a_client_take_nothing(slots: Callable[[int], None]) -> None:
    """There is just enough for one, and it is made for all of them."""
    slots(3)
    budget = CountingBudget(3)
    made = together(20, lambda: client("sqs", region=REGION, budget=budget))

    assert len(made) == 20
    assert len({id(each) for each in made}) == 1


def test_a_budget_that_is_spent_is_told_of_and_nothing_is_kept_of_it(
    slots: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    slots(3)
    budget = CountingBudget(2)
    monkeypatch.setattr(clients, "_TIMEOUT_S", 0.05)
    with pytest.raises(PoolTimeout):
        client("sqs", region=REGION, budget=budget)

    assert budget.taken == 0


def test_a_client_that_cannot_be_made_gives_its_share_back(slots: Callable[[int], None]) -> None:
    slots(3)
    budget = CountingBudget(3)
    with pytest.raises(UnknownServiceError):
        client("nothing", region=REGION, budget=budget)

    assert budget.taken == 0


def test_closing_gives_the_share_back(slots: Callable[[int], None]) -> None:
    slots(3)
    budget = CountingBudget(3)
    made = client("sqs", region=REGION, budget=budget)
    closed: list[int] = []
    made.close = lambda: closed.append(1)
    anyio.run(registry.close_everything, 5.0)

    assert (budget.taken, closed) == (0, [1])
    with pytest.raises(PoolClosed):
        client("sqs", region=REGION, budget=budget)


# -------------------------------------------------------------------------- forks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="not run: there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_makes_its_own(stub: AwsStub) -> None:
    parents = client("sqs", region=REGION, endpoint_url=stub.url)
    parents.list_queues()
    with sessions.turn(clients._session()._session):  # as if another thread were making a client
        child = os.fork()
        if child == 0:
            told = 1
            with suppress(BaseException):
                own = client("sqs", region=REGION, endpoint_url=stub.url)
                own.list_queues()
                told = 0 if own is not parents else 2
            os._exit(told)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert client("sqs", region=REGION, endpoint_url=stub.url) is parents
    parents.list_queues()
