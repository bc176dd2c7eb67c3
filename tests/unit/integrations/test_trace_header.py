"""Which trace header is followed, and who is told."""

from __future__ import annotations

import logging

import pytest

from lmi_runtime.context import serving
from lmi_runtime.integrations import trace_header as module
from lmi_runtime.integrations.trace_header import VARIABLE, trace_header
from tests.support.crowd import request_of


@pytest.fixture(autouse=True)
def _untold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_warned", {})
    monkeypatch.delenv(VARIABLE, raising=False)


def test_the_requests_own_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trace_header() is None
    monkeypatch.setenv(VARIABLE, "Root=1-environment")
    assert trace_header() == "Root=1-environment"
    with serving(request_of(1)):
        assert trace_header() == request_of(1).trace_id


@pytest.mark.parametrize(("number", "warnings"), [(1, 0), (2, 1)])
def test_a_variable_that_says_otherwise_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
    warnings: int,
) -> None:
    monkeypatch.setenv(VARIABLE, str(request_of(1).trace_id))
    with serving(request_of(number)):
        trace_header()
        trace_header()
    assert [VARIABLE in record.getMessage() for record in caplog.records] == [True] * warnings
    assert {record.levelno for record in caplog.records} <= {logging.WARNING}
