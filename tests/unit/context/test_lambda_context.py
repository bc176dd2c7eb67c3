"""Our `LambdaContext` against the one that awslambdaric passes to handlers."""

from __future__ import annotations

import copy
import io
import os
import sys
import time
from collections.abc import Callable
from unittest import mock

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext as PowertoolsContext
from awslambdaric.lambda_context import LambdaContext as AwsContext
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime import _sync
from lmi_runtime.context import FunctionEnvironment, LambdaContext, Request
from tests.support.examples import few

Make = Callable[..., Request]

VARIABLES = (
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
)
ATTRIBUTES = (
    "aws_request_id",
    "log_group_name",
    "log_stream_name",
    "function_name",
    "memory_limit_in_mb",
    "function_version",
    "invoked_function_arn",
    "tenant_id",
)
CLIENT_FIELDS = (
    "installation_id",
    "app_title",
    "app_version_name",
    "app_version_code",
    "app_package_name",
)

texts = st.text(max_size=5)
values = st.none() | st.integers() | texts | st.dictionaries(texts, texts, max_size=2)
clients = st.dictionaries(st.sampled_from(CLIENT_FIELDS) | texts, values, max_size=4)
traces = st.dictionaries(
    st.sampled_from(["traceparent", "tracestate", "baggage", "other"]), values, max_size=4
)
client_contexts = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "custom": values,
        "env": values,
        "client": st.none() | clients,
        "w3c": values | traces,
        "unknown": values,
    },
)
identities = st.none() | st.fixed_dictionaries(
    {}, optional={"cognitoIdentityId": values, "cognitoIdentityPoolId": values}
)
environments = st.dictionaries(
    st.sampled_from(VARIABLES), st.text(st.characters(codec="ascii", min_codepoint=32), max_size=5)
)


@few()
@given(
    client=client_contexts,
    identity=identities,
    environ=environments,
    arn=st.none() | texts,
    tenant=st.none() | texts,
    deadline_ms=st.integers(0, 10**13),
    now_s=st.floats(0, 10**10),
)
def test_everything_reads_as_it_does_on_awslambdaric(
    client: dict[str, object] | None,
    identity: dict[str, object] | None,
    environ: dict[str, str],
    arn: str | None,
    tenant: str | None,
    deadline_ms: int,
    now_s: float,
) -> None:
    with mock.patch.dict(os.environ, environ, clear=True):
        theirs = AwsContext("id", copy.deepcopy(client), identity, deadline_ms, arn, tenant)
    before = copy.deepcopy(client)
    ours = LambdaContext(
        "id",
        client,
        identity,
        deadline_ms,
        arn,
        tenant,
        environment=FunctionEnvironment.from_environ(environ),
    )

    assert client == before, "the caller's dictionary is its own"
    assert repr(ours) == repr(theirs)
    for name in ATTRIBUTES:
        assert getattr(ours, name) == getattr(theirs, name)
    for parts in ((ours.client_context, theirs.client_context), (ours.identity, theirs.identity)):
        assert repr(parts[0]) == repr(parts[1])
    assert ours.w3c() == theirs.w3c()
    with mock.patch.object(time, "time", return_value=now_s):
        expected = theirs.get_remaining_time_in_millis()
    with mock.patch.object(_sync, "wall_time", return_value=now_s):
        assert ours.get_remaining_time_in_millis() == expected


def test_it_has_every_public_attribute_of_awslambdaric_and_powertools() -> None:
    ours = LambdaContext("id", {"client": {}}, {}, 0)
    theirs = AwsContext("id", {"client": {}}, {}, 0)

    for other in (theirs, PowertoolsContext):
        public = {name for name in dir(other) if not name.startswith("_")}
        assert public <= set(dir(ours))
    for part in ("client_context", "identity"):
        public = {n for n in dir(getattr(theirs, part)) if not n.startswith("_")}
        assert public <= set(dir(getattr(ours, part)))


def test_the_monotonic_deadline_wins_over_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wall clock that is set back an hour changes nothing."""
    context = LambdaContext("id", None, None, 5_000, deadline_s=103.5)
    monkeypatch.setattr(_sync, "wall_time", lambda: -3_600.0)

    readings = []
    for now in (100.0, 103.4999, 104.0):
        monkeypatch.setattr(_sync, "monotonic", lambda now=now: now)
        readings.append(context.get_remaining_time_in_millis())

    assert readings == [3_500, 0, 0]


def test_the_trace_context_is_a_copy() -> None:
    context = LambdaContext("id", {"w3c": {"baggage": "b"}}, None, 0)

    context.w3c().clear()

    assert context.w3c() == {"baggage": "b"}


def test_the_environment_is_read_once_a_process(
    make_request: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_request().lambda_context.function_name

    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "changed later")

    assert make_request().lambda_context.function_name == first != "changed later"


def test_log_writes_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    context = LambdaContext("id", None, None, 0)

    context.log("one")
    context.log({"two": 2})
    context.log("three\n")

    assert sys.stdout.getvalue() == "one\n{'two': 2}\nthree\n"  # type: ignore[attr-defined]
