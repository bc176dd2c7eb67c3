"""What type checkers see: the decorated function keeps its parameters and gives its result."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.typing_checks import check_types

SOURCE = """
from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

from aws_lambda_powertools.utilities.typing import LambdaContext as PowertoolsContext

from lmi_runtime.context import LambdaContext
from lmi_runtime.handlers import handler


@handler
async def ours(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    return {"ms": context.get_remaining_time_in_millis()}


@handler
async def powertools(event: dict[str, Any], context: PowertoolsContext) -> str:
    return context.aws_request_id


@handler(max_per_vcpu=8, deadline="report", serializer="orjson")
async def with_options(event: dict[str, Any]) -> int:
    return 1


@handler(concurrency="threads")
def plain(event: str, context: LambdaContext) -> bytes:
    return b""


@handler
async def stream(event: str) -> AsyncIterator[bytes]:
    yield b""


@handler
def plain_stream(event: str) -> Iterator[str]:
    yield ""


def use(context: LambdaContext, theirs: PowertoolsContext) -> None:
    assert_type(ours({}, context), dict[str, int])
    assert_type(powertools({}, theirs), str)
    assert_type(with_options({}), int)
    assert_type(plain("", context), bytes)
    assert_type(stream(""), Any)
    assert_type(plain_stream(""), Any)
    assert_type(ours.__lmi_handler__.takes_context, bool)
"""

WRONG = {
    "plain(1, context)": "arg-type",
    "ours({})": "call-arg",
    "handler(max_per_vcpu='8')": "call-overload",
    "handler(concurrency='fast')": "call-overload",
    "handler(max=8)": "call-overload",
}


@pytest.mark.slow
def test_mypy_keeps_the_types(tmp_path: Path) -> None:
    check_types(SOURCE, "def misuse(context: LambdaContext) -> None:", WRONG, tmp_path)
