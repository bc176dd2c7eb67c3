"""Sessions of botocore make one client at a time, with room for all who use it."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import boto3  # type: ignore[import-untyped]
import botocore.client  # type: ignore[import-untyped]
import botocore.session  # type: ignore[import-untyped]
import pytest
from botocore.config import Config  # type: ignore[import-untyped]

from lmi_runtime.integrations.boto import sessions
from tests.support.crowd import ThreadCrowd
from tests.support.patience import PATIENCE_S

REGION = "eu-west-1"


def others_may_enter(lock: Any) -> bool:
    """Whether another thread gets the lock now."""
    got: list[bool] = []

    def attempt() -> None:
        if lock.acquire(blocking=False):
            lock.release()
            got.append(True)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join(PATIENCE_S)
    return bool(got)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What is called in the middle of making a client."""
    callbacks: list[Callable[[], None]] = []
    create = botocore.client.ClientCreator.create_client

    def creating(self: Any, *args: Any, **kwargs: Any) -> Any:
        for callback in callbacks:
            callback()
        return create(self, *args, **kwargs)

    monkeypatch.setattr(botocore.client.ClientCreator, "create_client", creating)
    return callbacks


@pytest.fixture
def no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)


def test_a_session_makes_one_client_at_a_time(seen: list[Callable[[], None]]) -> None:
    session, other = boto3.session.Session(), boto3.session.Session()
    entered: list[tuple[bool, bool]] = []
    seen.append(
        lambda: entered.append(
            (
                others_may_enter(sessions.turn(session._session)),
                others_may_enter(sessions.turn(other._session)),
            )
        )
    )
    session.client("sqs", region_name=REGION).close()

    assert entered == [(False, True)]
    assert others_may_enter(sessions.turn(session._session))


def test_a_client_may_be_made_for_another(seen: list[Callable[[], None]]) -> None:
    """As a session does that has to assume a role first."""
    session = botocore.session.Session()

    def once() -> None:
        seen.clear()
        session.create_client("sts", region_name=REGION).close()

    seen.append(once)
    session.create_client("sqs", region_name=REGION).close()

    assert seen == []


@pytest.mark.usefixtures("no_default")
def test_a_crowd_shares_one_default_session() -> None:
    crowd = ThreadCrowd(8)

    def handle(number: int) -> tuple[int, str]:
        crowd.meet()
        client = boto3.client("sqs")
        client.close()
        return id(boto3.DEFAULT_SESSION), client.meta.region_name

    made = crowd.serve(handle)

    assert len(made) == 8
    assert set(made) == {(id(boto3.DEFAULT_SESSION), REGION)}


@pytest.mark.usefixtures("no_default")
def test_the_default_session_is_made_by_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[bool] = []

    def session() -> Any:
        entered.append(others_may_enter(sessions._default_turn()))
        return boto3.session.Session()

    monkeypatch.setattr(boto3, "Session", session)
    for _ in range(2):
        boto3.client("sqs").close()

    assert entered == [False]


def test_a_session_that_nobody_has_is_forgotten() -> None:
    session = botocore.session.Session()
    session.create_client("sqs", region_name=REGION).close()
    reference = weakref.ref(session)
    del session
    gc.collect()

    assert reference() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="not run: there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.usefixtures("no_default")
def test_a_child_does_not_wait_for_its_parents_threads() -> None:
    session = botocore.session.Session()
    with sessions.turn(session), sessions._default_turn():
        told: list[int] = []

        def fork() -> None:  # a thread that does not have the locks
            child = os.fork()
            if child == 0:
                with suppress(BaseException):
                    session.create_client("sqs", region_name=REGION).close()
                    boto3.client("sqs").close()
                    os._exit(0)
                os._exit(1)
            told.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

        thread = threading.Thread(target=fork)
        thread.start()
        thread.join(PATIENCE_S)

    assert told == [0]


# ------------------------------------------------------------------- connections


def kept(config: Config | None = None, default: Config | None = None) -> int:
    session = botocore.session.Session()
    if default is not None:
        session.set_default_client_config(default)
    client = session.create_client("sqs", region_name=REGION, config=config)
    client.close()
    count: int = client.meta.config.max_pool_connections
    return count


def test_clients_of_user_code_keep_a_connection_for_each_slot(
    slots: Callable[[int], None],
) -> None:
    slots(24)
    client = boto3.session.Session().client("sqs", region_name=REGION)
    client.close()

    assert client.meta.config.max_pool_connections == 24
    assert kept(Config(read_timeout=5)) == 24


def test_who_says_how_many_gets_as_many(slots: Callable[[int], None]) -> None:
    slots(24)

    assert kept(Config(max_pool_connections=3)) == 3
    assert kept(default=Config(max_pool_connections=4)) == 4
    assert kept(Config(read_timeout=5), Config(max_pool_connections=5)) == 5


def test_a_config_is_otherwise_what_it_was(slots: Callable[[int], None]) -> None:
    slots(24)
    session = botocore.session.Session()
    session.set_default_client_config(Config(user_agent_extra="mine"))
    client = session.create_client(
        "sqs", region_name=REGION, config=Config(read_timeout=5, retries={"mode": "standard"})
    )
    client.close()

    config = client.meta.config
    assert (config.read_timeout, config.retries["mode"], config.user_agent_extra) == (
        5,
        "standard",
        "mine",
    )


def test_few_slots_change_nothing(slots: Callable[[int], None]) -> None:
    slots(10)

    assert kept() == 10


def test_a_config_may_be_given_by_place(slots: Callable[[int], None]) -> None:
    slots(24)
    arguments = ("sqs", REGION, None, True, None, None, None, None, None, Config(read_timeout=5))
    client = botocore.session.Session().create_client(*arguments)
    client.close()

    assert client.meta.config.read_timeout == 5
