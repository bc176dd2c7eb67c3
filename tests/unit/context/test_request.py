"""What a request knows, and what is kept for as long as it lasts."""

from __future__ import annotations

import json
import math
import sys
import threading
from collections.abc import Callable

import pytest

from lmi_runtime import _sync
from lmi_runtime.context import LambdaContext, Request
from lmi_runtime.context import request as request_module
from lmi_runtime.errors import ContextUnmarshalError
from tests.support.patience import PATIENCE_S

Make = Callable[..., Request]

TRACE_PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_request_shows_the_facts_of_its_invocation(make_request: Make) -> None:
    facts = {
        "request_id": "r",
        "invocation_id": "i",
        "function_arn": "arn:f",
        "trace_id": "Root=1",
        "tenant_id": "t",
        "deadline_s": 12.5,
    }

    request = make_request(**facts)

    assert {name: getattr(request, name) for name in facts} == facts
    for name in facts:
        with pytest.raises(AttributeError):
            setattr(request, name, "changed")


def test_remaining_time_counts_down_to_zero_and_is_infinite_without_a_deadline(
    make_request: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = make_request(deadline_s=10.0)

    readings = []
    for now in (7.5, 10.0, 99.0):
        monkeypatch.setattr(_sync, "monotonic", lambda now=now: now)
        readings.append(request.remaining_s())

    assert readings == [2.5, 0.0, 0.0]
    assert make_request().remaining_s() == math.inf


def test_client_context_identity_and_trace_context_are_decoded(make_request: Make) -> None:
    request = make_request(
        client_context=json.dumps(
            {"custom": {"k": "v"}, "w3c": {"traceparent": TRACE_PARENT, "other": "x"}}
        ),
        cognito_identity=json.dumps({"cognitoIdentityId": "id", "cognitoIdentityPoolId": "pool"}),
    )

    assert request.client_context is not None
    assert request.client_context.custom == {"k": "v"}
    assert request.cognito_identity.cognito_identity_id == "id"
    assert request.w3c == {"traceparent": TRACE_PARENT}


def test_without_headers_there_is_no_client_and_an_empty_identity(make_request: Make) -> None:
    request = make_request()

    assert request.client_context is None
    assert request.cognito_identity.cognito_identity_id is None
    assert request.w3c == {}


@pytest.mark.parametrize(
    ("header", "text", "message"),
    [
        ("client_context", "{", "Unable to parse Client Context JSON: Expecting property"),
        ("client_context", "[1]", "Unable to parse Client Context JSON: it is not an object"),
        ("client_context", '{"client": 3}', "Client Context JSON: its 'client' is not an object"),
        ("cognito_identity", "no", "Unable to parse Cognito Identity JSON: Expecting value"),
        ("cognito_identity", "[" * 100_000, "Unable to parse Cognito Identity JSON"),
    ],
)
def test_a_corrupt_header_fails_where_it_is_read_and_not_before(
    make_request: Make, header: str, text: str, message: str
) -> None:
    request = make_request(**{header: text})

    with pytest.raises(ContextUnmarshalError, match=message) as caught:
        _ = request.lambda_context
    assert caught.value.error_type == "Runtime.LambdaContextUnmarshalError"


def test_the_lambda_context_is_made_once_and_a_given_one_is_kept(make_request: Make) -> None:
    request = make_request()
    given = LambdaContext("r", None, None, 0)

    assert request.lambda_context is request.lambda_context
    assert Request(request.invocation, lambda_context=given).lambda_context is given


def test_a_kept_value_is_made_once_even_when_it_is_falsy(make_request: Make) -> None:
    request, made = make_request(), []

    values = [request.keep("key", lambda: made.append(1)) for _ in range(3)]

    assert (values, made) == ([None] * 3, [1])


def test_a_factory_that_fails_is_asked_again(make_request: Make) -> None:
    request = make_request()

    with pytest.raises(ZeroDivisionError):
        request.keep("key", lambda: 1 / 0)

    assert request.keep("key", lambda: "made") == "made"


def test_threads_that_ask_at_the_same_time_share_one_value(
    make_request: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The second thread asks while the first is inside the factory.

    The lock announces the second thread before it makes it wait, so the factory goes on only
    when the race is really on.
    """
    inside, at_the_door = threading.Event(), threading.Event()

    class Announcing:
        def __init__(self) -> None:
            self._lock = threading.RLock()

        def __enter__(self) -> None:
            if inside.is_set():
                at_the_door.set()
            self._lock.acquire()

        def __exit__(self, *_: object) -> None:
            self._lock.release()

    def factory() -> object:
        inside.set()
        assert at_the_door.wait(PATIENCE_S)
        return object()

    monkeypatch.setattr(_sync, "RLock", Announcing)
    request, values = make_request(), []

    def ask() -> None:
        values.append(request.keep("key", factory))

    first = threading.Thread(target=ask)
    first.start()
    assert inside.wait(PATIENCE_S)
    second = threading.Thread(target=ask)
    second.start()
    for thread in (first, second):
        thread.join(PATIENCE_S)

    assert len(values) == 2
    assert values[0] is values[1]


def test_what_is_left_for_the_end_is_done_then_the_latest_first(make_request: Make) -> None:
    request, done = make_request(), []
    request.at_end(lambda: done.append((1, request.ended)))
    request.at_end(lambda: done.append((2, request.ended)))
    assert done == []

    request.end()
    request.end()

    assert done == [(2, True), (1, True)]


def test_what_is_left_for_an_end_that_has_been_is_done_at_once(make_request: Make) -> None:
    request, done = make_request(), []
    request.end()

    request.at_end(lambda: done.append(1))

    assert done == [1]


def test_what_fails_at_the_end_is_logged_and_keeps_nothing_else_from_being_done(
    make_request: Make, caplog: pytest.LogCaptureFixture
) -> None:
    request, done = make_request("r9"), []
    request.at_end(lambda: done.append(1))
    request.at_end(lambda: 1 / 0)
    request.at_end(lambda: sys.exit("no"))

    request.end()

    assert done == [1]
    assert [record.getMessage() for record in caplog.records] == [
        "What was to be done at the end of request r9 failed."
    ] * 2
    assert [record.exc_info and record.exc_info[0] for record in caplog.records] == [
        SystemExit,
        ZeroDivisionError,
    ]


@pytest.mark.parametrize("moment", ["before it is left", "after it was left"])
def test_what_is_left_while_a_request_ends_is_done_exactly_once(
    make_request: Make, moment: str
) -> None:
    """The request ends in another thread, just before or just after the callback is noted."""
    request, done = make_request(), []

    class Interrupted(list):  # type: ignore[type-arg]
        def append(self, callback: object) -> None:
            if moment == "after it was left":
                super().append(callback)
            ending = threading.Thread(target=request.end)
            ending.start()
            ending.join(PATIENCE_S)
            if moment == "before it is left":
                super().append(callback)

    request._kept[request_module._ENDINGS] = Interrupted()
    request.at_end(lambda: done.append(1))

    assert done == [1]


def test_two_threads_that_end_a_request_do_each_thing_once(make_request: Make) -> None:
    """The second one takes the last callback just before the first one would."""
    request, done = make_request(), []

    class Contested(list):  # type: ignore[type-arg]
        def pop(self, *_: object) -> object:
            if threading.current_thread() is threading.main_thread():
                other = threading.Thread(target=request.end)
                other.start()
                other.join(PATIENCE_S)
            return super().pop()

    request._kept[request_module._ENDINGS] = Contested()
    request.at_end(lambda: done.append(1))
    request.end()

    assert done == [1]


def test_repr_names_the_request_and_whether_it_has_ended(make_request: Make) -> None:
    request = make_request("r7")
    before = repr(request)
    request.end()

    assert (before, repr(request)) == ("<Request r7>", "<Request r7 ended>")
