"""What the function imported by name before anybody asked for safety."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.patience import PATIENCE_S

FUNCTION = """
import asyncio
{before}
from aws_lambda_powertools.middleware_factory import lambda_handler_decorator
from aws_lambda_powertools.utilities.batch import (
    AsyncBatchProcessor, EventType, async_process_partial_response,
)
from aws_lambda_powertools.utilities.parser import BaseModel, event_parser
from aws_lambda_powertools.utilities.validation import SchemaValidationError, validator
{after}

log = []

class Model(BaseModel):
    n: int

@lambda_handler_decorator
def middleware(handler, event, context):
    answer = handler(event, context)
    log.append("after")
    return answer

@middleware
@event_parser(model=Model)
@validator(outbound_schema={{"type": "object"}})
async def handler(event, context):
    await asyncio.sleep(0)
    log.append("body")
    return {{"n": event.n}}

@validator(outbound_schema={{"type": "string"}})
async def wrong(event, context):
    return 1

processor = AsyncBatchProcessor(EventType.SQS)

async def fail(record):
    if record.body:
        raise ValueError(record.body)

async def main():
    assert await handler({{"n": "3"}}, None) == {{"n": 3}}
    assert log == ["body", "after"]
    try:
        await wrong({{}}, None)
    except SchemaValidationError:
        log.append("refused")
    assert log[2:] == ["refused"]
    records = [
        {{"messageId": str(n), "body": "fail" * n, "eventSource": "aws:sqs"}} for n in range(2)
    ]
    answer = await async_process_partial_response({{"Records": records}}, fail, processor)
    assert answer == {{"batchItemFailures": [{{"itemIdentifier": "1"}}]}}

asyncio.run(main())
"""

SAFE = "from lmi_runtime.integrations import make_safe; make_safe()"


@pytest.mark.parametrize("first", [True, False], ids=["safe first", "imported first"])
def test_it_is_safe_whatever_came_first(first: bool) -> None:
    code = FUNCTION.format(before=SAFE if first else "", after="" if first else SAFE)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=3 * PATIENCE_S)
