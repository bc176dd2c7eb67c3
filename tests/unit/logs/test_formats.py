"""What a line says, compared with awslambdaric's where it has a say."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest
from awslambdaric.lambda_runtime_log_utils import JsonFormatter as AwsFormatter
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.context import Request
from lmi_runtime.logs import JsonFormatter, TextFormatter
from lmi_runtime.logs.formats import JsonFormat, Printed, TextFormat, timestamp
from lmi_runtime.model import Invocation

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
extras = st.dictionaries(
    st.sampled_from(["order", "count", "nothing", "nested"]),
    st.none() | st.integers() | texts | st.dictionaries(texts, st.integers(), max_size=2),
    max_size=4,
)


def make_record(msg: object, *args: object, **attributes: Any) -> logging.LogRecord:
    record = logging.LogRecord("app", logging.INFO, "/app.py", 3, msg, args, None, "handler")
    record.__dict__.update(attributes)
    return record


@given(
    msg=texts | st.dictionaries(texts, texts, max_size=3),
    level=st.integers(0, 60),
    extra=extras,
    tenant=st.none() | st.just("t1"),
)
def test_a_record_has_the_keys_and_values_of_awslambdaric(
    msg: object, level: int, extra: dict[str, Any], tenant: str | None
) -> None:
    def make() -> logging.LogRecord:
        stamps = {"aws_request_id": "r1", "tenant_id": tenant, "levelno": level, "taskName": None}
        record = make_record(msg, **extra, **stamps)
        if level >= logging.ERROR:
            record.exc_info = (KeyError, KeyError("k"), None)
        return record

    ours = json.loads(JsonFormatter().format(make()))
    theirs = json.loads(AwsFormatter().format(make()))

    assert ours.pop("timestamp")[:19] == theirs.pop("timestamp")[:19]
    assert ours == theirs


def test_the_stack_is_a_list_of_frames() -> None:
    try:
        int("x")
    except ValueError:
        record = make_record("m", exc_info=sys.exc_info())

    found = json.loads(JsonFormatter().format(record))

    assert len(found["stackTrace"]) == 1
    assert "int(" in found["stackTrace"][0]
    assert found["errorType"] == "ValueError"
    assert found["location"] == "/app.py:handler:3"


def test_two_extras_show_on_a_record_that_no_request_was_stamped_on() -> None:
    found = json.loads(JsonFormatter().format(make_record("m", order=1, count=2)))

    assert (found["order"], found["count"]) == (1, 2)
    assert "requestId" not in found


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (make_record("%d items", "no"), "%d items % ('no',) (TypeError: "),
        (make_record("none", exc_info=(None, None, None)), "none"),
        (make_record(7), "7"),
    ],
)
def test_a_record_that_cannot_be_formatted_is_shown_as_it_is(
    record: logging.LogRecord, message: str
) -> None:
    assert json.loads(JsonFormatter().format(record))["message"].startswith(message)
    assert message in TextFormatter().format(record)


def test_text_has_the_layout_of_awslambdaric() -> None:
    record = make_record("hello %s", "you", aws_request_id="r1", created=0.25, msecs=250.0)

    assert TextFormatter().format(record) == "[INFO]\t1970-01-01T00:00:00.250Z\tr1\thello you"


@given(st.floats(0, 4e9))
def test_timestamps_have_milliseconds(seconds: float) -> None:
    text = timestamp(seconds)

    assert len(text) == len("2026-01-01T00:00:00.000Z")
    assert text.endswith("Z")


REQUEST = Request(Invocation(request_id="r1", tenant_id="t1"))


@pytest.mark.parametrize(
    "line",
    [
        b'{"_aws": {"Timestamp": 1},  "x":1.0}',
        b"{}",
        b'{ "level" : "INFO", "message": "\xc3\xa9" }',
    ],
)
def test_a_json_object_passes_byte_for_byte(line: bytes) -> None:
    assert JsonFormat().printed(Printed(line, "stdout", logging.INFO), REQUEST) == line


@pytest.mark.parametrize(
    "line",
    [
        b"text",
        b"{'a': 1}",
        b'{"a": 1} and more}',
        b'["a"]',
        b"",
        b"\xff",
        b'{"a": ' * 50_000 + b"}",
    ],
)
def test_everything_else_is_wrapped_and_names_its_request(line: bytes) -> None:
    wrapped = JsonFormat().printed(Printed(line, "stdout", logging.INFO), REQUEST)

    found = json.loads(wrapped)
    assert found["requestId"] == "r1"
    assert found["tenantId"] == "t1"
    assert (found["level"], found["logger"]) == ("INFO", "stdout")
    assert found["message"][:20] == line.decode("utf-8", "replace")[:20]


def test_a_json_object_that_is_too_long_is_wrapped_and_cut() -> None:
    line = b'{"a": "' + "é".encode() * 40_000 + b'"}'

    wrapped = JsonFormat().printed(Printed(line, "stdout", logging.INFO), None)

    assert len(wrapped) < 65_535
    assert json.loads(wrapped)["message"].startswith('{"a": "é')


def test_outside_a_request_no_request_is_named() -> None:
    wrapped = JsonFormat().printed(Printed(b"x", "stderr", logging.ERROR), None)

    assert "requestId" not in json.loads(wrapped)


def test_text_lines_stay_as_they_are() -> None:
    assert TextFormat().printed(Printed(b"{'a': 1}\r", "stdout", 20), REQUEST) == b"{'a': 1}\r"


def test_notices_keep_within_their_limit() -> None:
    for made in (JsonFormat(), TextFormat()):
        line = made.notice(logging.ERROR, "é" * 9_000, {"worker": 3}, limit_bytes=4_095)
        assert len(line) <= 4_095
        line.decode()
    found = json.loads(JsonFormat().notice(logging.ERROR, "é" * 9_000, {"worker": 3}))
    assert (found["level"], found["worker"]) == ("ERROR", 3)
