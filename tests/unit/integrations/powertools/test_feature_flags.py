"""Feature flags: one document for all requests, and answers of each one's own."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

pytest.importorskip("aws_lambda_powertools")

from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.feature_flags import AppConfigStore, FeatureFlags, schema

from lmi_runtime.integrations import make_safe
from lmi_runtime.integrations.powertools import parameters as ours
from lmi_runtime.integrations.powertools.parameters import off_loop
from tests.support.crowd import COUNT, TaskCrowd, ThreadCrowd

DOCUMENT = {
    "lists": {
        "boolean_type": False,
        "default": [],
        "rules": {
            f"of {number}": {
                "when_match": [number],
                "conditions": [{"action": "EQUALS", "key": "number", "value": number}],
            }
            for number in range(COUNT // 2)
        },
    }
}


@pytest.fixture(autouse=True, scope="module")
def _safe() -> None:
    make_safe()


class Client:
    meta = None

    def __init__(self) -> None:
        self.fetched = 0

    def start_configuration_session(self, **options: Any) -> Any:
        return {"InitialConfigurationToken": "0"}

    def get_latest_configuration(self, **options: Any) -> Any:
        self.fetched += 1
        return {"Configuration": self, "NextPollConfigurationToken": "0"}

    def read(self) -> bytes:
        return json.dumps(DOCUMENT).encode()


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(parameters.base.user_agent, "register_feature_to_client", lambda **_: None)
    return Client()


@pytest.fixture
def flags(client: Client) -> FeatureFlags:
    store = AppConfigStore("test", "shop", "flags", max_age=100, boto3_client=client)
    return FeatureFlags(store)


def answer(flags: FeatureFlags, number: int) -> Any:
    found = flags.evaluate(name="lists", context={"number": number}, default=None)
    found.append("mine")
    return found


def expected(number: int) -> list[Any]:
    return [number, "mine"] if number < COUNT // 2 else ["mine"]


def test_threads_change_their_own_answers(flags: FeatureFlags, client: Client) -> None:
    crowd = ThreadCrowd()

    def handle(number: int) -> Any:
        crowd.meet()
        found = answer(flags, number)
        crowd.meet()
        return found

    assert crowd.serve(handle) == [expected(number) for number in range(COUNT)]
    assert crowd.serve(handle) == [expected(number) for number in range(COUNT)]
    assert client.fetched == 1


def test_tasks_change_their_own_answers(flags: FeatureFlags, client: Client) -> None:
    crowd = TaskCrowd()

    async def handle(number: int) -> Any:
        found = await off_loop(lambda: answer(flags, number))
        await crowd.meet()
        return found

    assert crowd.serve(handle) == [expected(number) for number in range(COUNT)]
    assert client.fetched == 1


def test_the_document_is_neither_copied_nor_validated_again(
    flags: FeatureFlags, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = flags.get_configuration()
    assert flags.store.get_raw_configuration is document
    if hasattr(flags, "_last_validated_config"):  # the newer versions know what they validated
        monkeypatch.delattr(schema.SchemaValidator, "validate")
    assert answer(flags, 1) == expected(1)
    assert flags.get_configuration() is document


def test_what_the_caller_gave_for_want_of_an_answer(flags: FeatureFlags) -> None:
    assert flags.evaluate(name="unknown", default={"a": 1}) == {"a": 1}


@pytest.mark.anyio
async def test_off_the_loop_only_for_a_document_that_is_not_there(
    flags: FeatureFlags, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_threads(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError

    threads: list[int] = []
    monkeypatch.setattr(client, "read", lambda: _document(threads))
    assert await off_loop(flags.evaluate, name="lists", context={"number": 1}, default=None) == [1]
    assert threads != [threading.get_ident()]
    monkeypatch.setattr(ours, "in_thread", no_threads)
    assert await off_loop(flags.get_enabled_features, context={"number": 1}) == ["lists"]
    assert len(threads) == 1


def _document(threads: list[int]) -> bytes:
    threads.append(threading.get_ident())
    return json.dumps(DOCUMENT).encode()
