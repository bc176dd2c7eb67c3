"""Handlers with powertools and AWS clients are explored as they are served: made safe, or not."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lmi_runtime.bootstrap.stressing import StressOptions, stress_handler
from lmi_runtime.stress.model import Verdict
from tests.support.repository import REPOSITORY

pytestmark = pytest.mark.slow

CODE = """
import asyncio
from aws_lambda_powertools import Logger, Metrics
from lmi_runtime import handler

logger = Logger(service="orders")
metrics = Metrics(namespace="Shop", service="orders")

@handler{options}
@logger.inject_lambda_context
@metrics.log_metrics
{kind} handle(event, context):
    logger.append_keys(caller=event["caller"])
    metrics.add_dimension(name="caller", value=event["caller"])
    metrics.add_metric(name="orders", unit="Count", value=1)
    {wait}
    logger.info("served")
    return {{"caller": event["caller"]}}
"""

TRACER = """
import asyncio
from aws_lambda_powertools import Tracer
from lmi_runtime import handler

tracer = Tracer(service="shop", disabled=False, auto_patch=False)

@tracer.capture_method
{kind} price(caller):
    tracer.put_annotation("caller", caller)
    {wait}
    return len(caller)

@handler{options}
@tracer.capture_lambda_handler
{kind} handle(event, context):
    tracer.put_metadata("caller", event["caller"])
    return {{"price": {awaited} price(event["caller"])}}
"""

ROUTES = """
import asyncio
from aws_lambda_powertools.event_handler import APIGatewayRestResolver
from lmi_runtime import handler

app = APIGatewayRestResolver()

@app.get("/orders/<name>")
def order(name):
    app.append_context(name=name)
    return {{"path": app.current_event.path, "name": app.context["name"]}}

@handler{options}
{kind} handle(event, context):
    {wait}
    return app.resolve(event, context)
"""

BATCH = """
import asyncio
from aws_lambda_powertools.utilities import batch
from lmi_runtime import handler

processor = batch.{Async}BatchProcessor(event_type=batch.EventType.SQS)

{kind} take(record):
    {wait}
    if record.body == "bad":
        raise ValueError(record.message_id)

@handler{options}
{kind} handle(event, context):
    return {awaited} batch.{async_}process_partial_response(event, take, processor, context)
"""

PAID_ONCE = """
import asyncio
import copy
import time
from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig, idempotent_function
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyAlreadyInProgressError,
    IdempotencyItemAlreadyExistsError,
    IdempotencyItemNotFoundError,
)
from aws_lambda_powertools.utilities.idempotency.persistence.base import BasePersistenceLayer
from lmi_runtime import handler

class Table(BasePersistenceLayer):
    records = {{}}

    def _get_record(self, idempotency_key):
        if idempotency_key not in self.records:
            raise IdempotencyItemNotFoundError
        return copy.copy(self.records[idempotency_key])

    def _put_record(self, data_record):
        if self.records.setdefault(data_record.idempotency_key, data_record) is not data_record:
            raise IdempotencyItemAlreadyExistsError

    def _update_record(self, data_record):
        self.records[data_record.idempotency_key] = data_record

    def _delete_record(self, data_record):
        self.records.pop(data_record.idempotency_key, None)

config = IdempotencyConfig()

@idempotent_function(data_keyword_argument="order", persistence_store=Table(), config=config)
{kind} pay(order):
    {wait}
    return order["caller"]

@handler{options}
{kind} handle(event, context):
    config.register_lambda_context(context)
    while True:
        try:
            return {{"paid": {awaited} pay(order=event)}}
        except IdempotencyAlreadyInProgressError:
            {a_moment}
"""

CLIENT = """
import asyncio
import io
from botocore.awsrequest import AWSResponse
from lmi_runtime import handler
from lmi_runtime.integrations import boto

keys = {{"aws_access_key_id": "key", "aws_secret_access_key": "secret"}}
table = boto.client("dynamodb", region="eu-west-1", **keys)

class Raw(io.BytesIO):
    def stream(self, **_):
        yield self.read()

def answer(request, **_):
    return AWSResponse(request.url, 200, {{}}, Raw(b'{{"TableNames": ["orders"]}}'))

table.meta.events.register("before-send.dynamodb", answer)

@handler{options}
{kind} handle(event, context):
    {wait}
    return {{"tables": table.list_tables()["TableNames"], "caller": event["caller"]}}
"""

_AS_TASKS = {
    "options": "",
    "kind": "async def",
    "wait": "await asyncio.sleep(0)",
    "awaited": "await",
    "a_moment": "await asyncio.sleep(0.1)",
    "Async": "Async",
    "async_": "async_",
}
_AS_THREADS = {
    "options": '(concurrency="threads")',
    "kind": "def",
    "wait": "pass",
    "awaited": "",
    "a_moment": "time.sleep(0.1)",
    "Async": "",
    "async_": "",
}
THREADS = CODE.format(**_AS_THREADS)

_CALLER = {"caller": "x"}
_GET = {
    "httpMethod": "GET",
    "path": "/orders/x",
    "headers": {},
    "requestContext": {"requestId": "x"},
}
_RECORDS = {
    "Records": [
        {"messageId": "1", "body": "bad", "eventSource": "aws:sqs"},
        {"messageId": "2", "body": "good", "eventSource": "aws:sqs"},
    ]
}


@pytest.fixture(autouse=True)
def _xray_without_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor with a sampler that asks AWS, for which every import would make a client."""
    from aws_xray_sdk.core import xray_recorder
    from aws_xray_sdk.core.sampling.local.sampler import LocalSampler

    monkeypatch.setattr(xray_recorder, "_sampler", LocalSampler())
    monkeypatch.setattr(xray_recorder.emitter, "send_entity", lambda entity: entity.serialize())


@pytest.mark.parametrize("mode", [_AS_TASKS, _AS_THREADS], ids=["tasks", "threads"])
@pytest.mark.parametrize(
    ("code", "event"),
    [
        (CODE, _CALLER),
        (TRACER, _CALLER),
        (ROUTES, _GET),
        (BATCH, _RECORDS),
        (PAID_ONCE, _CALLER),
        (CLIENT, _CALLER),
    ],
    ids=["logger and metrics", "tracer", "routes", "batch", "idempotency", "client"],
)
def test_no_race_is_found(
    code: str, event: dict[str, Any], mode: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "library_app.py").write_text(code.format(**mode))

    report = stress_handler(
        "library_app.handle",
        [event],
        # By the number of schedules: how many there is time for depends on who else uses the
        # machine.
        StressOptions(preemptions=1, schedules=60, budget_s=math.inf),
        task_root=tmp_path,
    )

    assert report.findings == (), [each.sentence for each in report.findings]
    # Each step of a record is taken in a thread, and threads may come in any order.
    is_too_much = code is PAID_ONCE and mode is _AS_TASKS
    assert report.verdict is Verdict.PASSED or is_too_much, report.coverage


def test_what_it_would_be_without_is_found(tmp_path: Path) -> None:
    """In a process of its own: what is made safe stays so."""
    (tmp_path / "powertools_app.py").write_text(THREADS)
    (tmp_path / "events.json").write_text('{"caller": "x"}')

    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from lmi_runtime.cli import main; raise SystemExit(main())",
            "stress",
            "powertools_app.handle",
            "--budget",
            "10m",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "LMI_MAKE_SAFE": "0"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1, done.stderr
    assert "One invocation's data appears in another" in done.stdout
