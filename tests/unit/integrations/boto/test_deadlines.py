"""Calls to AWS end with the request that makes them."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextvars import Context
from types import SimpleNamespace
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import (  # type: ignore[import-untyped]
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from lmi_runtime import _sync, context
from lmi_runtime.context import Request
from lmi_runtime.errors import DeadlineExceeded
from lmi_runtime.integrations.boto import bounded
from lmi_runtime.model import Invocation
from tests.support.aws_stub import AwsStub
from tests.support.patience import PATIENCE_S
from tests.support.requests import serving

SOON_S = 30
"""botocore alone would wait for a minute, and then try again."""

MODES = pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])


def timed(job: Callable[[], Any]) -> float:
    started_s = time.monotonic()
    job()
    return time.monotonic() - started_s


def fails(
    kind: type[BaseException] | tuple[type[BaseException], ...], job: Callable[[], Any]
) -> Callable[[], None]:
    def check() -> None:
        with pytest.raises(kind):
            job()

    return check


@MODES
def test_a_server_that_does_not_answer_takes_no_longer_than_the_request_has(
    make: Callable[..., Any], stub: AwsStub, mode: str
) -> None:
    stub.silent = True
    sqs = make("sqs", config=Config(retries={"mode": mode, "max_attempts": 5}))
    took_s = timed(lambda: serving(0.3, fails(DeadlineExceeded, sqs.list_queues)))

    assert 0.29 <= took_s < SOON_S
    assert len(stub.calls) <= 1


@MODES
def test_no_attempt_is_begun_or_waited_for_after_the_deadline(
    make: Callable[..., Any], stub: AwsStub, mode: str
) -> None:
    """Each attempt has 0.1 s by the client's config, and its retries would take many seconds."""
    stub.silent = True
    config = Config(read_timeout=0.1, retries={"mode": mode, "max_attempts": 50})
    sqs = make("sqs", config=config)
    took_s = timed(
        lambda: serving(0.5, fails((DeadlineExceeded, ReadTimeoutError), sqs.list_queues))
    )

    assert took_s < SOON_S
    assert len(stub.calls) <= 5


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Those that botocore made between attempts; they take no time."""
    made: list[float] = []
    clock = SimpleNamespace(sleep=made.append, time=time.time)
    monkeypatch.setattr("botocore.endpoint.time", clock)
    return made


def test_a_pause_that_would_outlast_the_request_is_not_made(
    make: Callable[..., Any], stub: AwsStub, pauses: list[float]
) -> None:
    stub.status = 503
    sqs = make("sqs", config=Config(retries={"mode": "standard", "max_attempts": 3}))
    sqs.meta.events.register_first("needs-retry.sqs.ListQueues", lambda **_: 3600)
    serving(PATIENCE_S, fails(ClientError, sqs.list_queues))

    assert pauses == []
    assert len(stub.calls) == 1


def test_retries_go_on_while_there_is_time(make: Callable[..., Any], stub: AwsStub) -> None:
    stub.status = 503
    sqs = make("sqs", config=Config(retries={"mode": "standard", "total_max_attempts": 3}))
    sqs.meta.events.register_first(
        "needs-retry.sqs.ListQueues", lambda attempts, **_: 0.001 if attempts < 3 else None
    )
    serving(PATIENCE_S, fails(ClientError, sqs.list_queues))

    assert len(stub.calls) == 3


def test_after_the_deadline_nothing_is_sent(make: Callable[..., Any], stub: AwsStub) -> None:
    sqs = make("sqs")

    with pytest.raises(DeadlineExceeded, match=r"before sqs\.ListQueues was answered"):
        serving(-1, sqs.list_queues)
    assert stub.calls == []


def test_shorter_limits_of_the_client_hold(make: Callable[..., Any], stub: AwsStub) -> None:
    stub.silent = True
    sqs = make("sqs", config=Config(read_timeout=0.1, retries={"total_max_attempts": 1}))

    serving(PATIENCE_S, fails(ReadTimeoutError, sqs.list_queues))


def test_outside_requests_the_clients_limits_hold(make: Callable[..., Any], stub: AwsStub) -> None:
    stub.silent = True
    sqs = make("sqs", config=Config(read_timeout=0.1, retries={"total_max_attempts": 2}))
    attempts: list[int] = []
    sqs.meta.events.register_first("before-send.sqs", lambda **_: attempts.append(1))
    sqs.meta.events.register_first(
        "needs-retry.sqs.ListQueues", lambda attempts, **_: 0.001 if attempts < 2 else None
    )
    with pytest.raises(ReadTimeoutError):
        sqs.list_queues()

    assert len(attempts) == 2


def test_a_body_that_stops_takes_no_longer_than_the_request_has(
    make: Callable[..., Any], stub: AwsStub
) -> None:
    """The server says that there are ten bytes, and sends one."""
    stub.faltering = True
    sqs = make("sqs")
    took_s = timed(lambda: serving(0.3, fails(DeadlineExceeded, sqs.list_queues)))

    assert 0.29 <= took_s < SOON_S


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """Connections to it are neither made nor refused: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(4):
            each = socket.socket()
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
            waiting.append(each)
        yield listener.getsockname()[1]
        for each in waiting:
            each.close()


def test_connecting_takes_no_longer_than_the_request_has(
    make: Callable[..., Any], deaf_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many addresses the host has, as those of S3 do."""
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: resolve(*args) * 8)
    sqs = make("sqs", endpoint_url=f"http://127.0.0.1:{deaf_port}")
    took_s = timed(lambda: serving(0.3, fails(DeadlineExceeded, sqs.list_queues)))

    assert 0.29 <= took_s < SOON_S


def test_what_else_goes_wrong_is_told_as_ever(make: Callable[..., Any], stub: AwsStub) -> None:
    config = Config(connect_timeout=0.1, retries={"total_max_attempts": 1})
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    sqs = make("sqs", endpoint_url=f"http://127.0.0.1:{port}", config=config)

    with pytest.raises((EndpointConnectionError, ConnectTimeoutError)):
        serving(PATIENCE_S, sqs.list_queues)


# ------------------------------------------------------- clients made elsewhere


@pytest.fixture
def foreign(stub: AwsStub) -> Iterator[Any]:
    client = boto3.session.Session().client("sqs", region_name="eu-west-1", endpoint_url=stub.url)
    yield client
    client.close()


def test_clients_made_elsewhere_can_be_bounded_while_they_are_used(
    foreign: Any, stub: AwsStub
) -> None:
    foreign.list_queues()  # it has a pool of connections already
    assert bounded(foreign) is foreign
    stub.silent = True
    took_s = timed(lambda: serving(0.3, fails(DeadlineExceeded, foreign.list_queues)))

    assert took_s < SOON_S


def test_bounding_again_changes_nothing(foreign: Any, stub: AwsStub) -> None:
    bounded(foreign)
    events = foreign._endpoint._event_emitter
    classes = dict(foreign._endpoint.http_session._pool_classes_by_scheme)
    bounded(foreign)

    assert foreign._endpoint._event_emitter is events
    assert foreign._endpoint.http_session._pool_classes_by_scheme == classes
    foreign.list_queues()


def test_another_client_of_the_same_session_is_left_alone(stub: AwsStub) -> None:
    session = boto3.session.Session(region_name="eu-west-1")
    one = bounded(session.client("sqs", endpoint_url=stub.url))
    other = session.client("sqs", endpoint_url=stub.url)
    serving(-1, other.list_queues)

    with pytest.raises(DeadlineExceeded):
        serving(-1, one.list_queues)
    one.close()
    other.close()


def test_a_client_unlike_any_is_named(caplog: pytest.LogCaptureFixture) -> None:
    class Strange:
        pass

    strange = Strange()
    with caplog.at_level(logging.WARNING, "lmi_runtime.integrations"):
        assert bounded(strange) is strange

    assert "Calls of Strange may outlast their requests' deadlines" in caplog.text


def test_a_call_does_not_get_more_time_when_its_request_has_been_answered(
    make: Callable[..., Any], stub: AwsStub, pauses: list[float]
) -> None:
    """Nobody waits for it any more."""
    stub.status = 503
    request = Request(Invocation(request_id="r", deadline_s=_sync.monotonic() + PATIENCE_S))
    sqs = make("sqs", config=Config(retries={"mode": "standard", "max_attempts": 3}))
    sqs.meta.events.register_first("response-received.sqs.ListQueues", lambda **_: request.end())
    sqs.meta.events.register_first("needs-retry.sqs.ListQueues", lambda **_: 3600)

    def serve() -> None:
        context.enter(request)
        with pytest.raises(ClientError):
            sqs.list_queues()

    Context().run(serve)

    assert pauses == []
    assert len(stub.calls) == 1


def test_work_that_outlives_its_request_may_still_call(
    make: Callable[..., Any], stub: AwsStub
) -> None:
    request = Request(Invocation(request_id="r", deadline_s=_sync.monotonic() - 1))
    sqs = make("sqs")
    request.end()

    def background() -> None:
        context.enter(request)
        sqs.list_queues()

    Context().run(background)

    assert len(stub.calls) == 1
