"""
Functions that trace what they call, in a process that Lambda's variables were set for.

The SDK looks at them when it is imported, so each test has a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from tests.support.aws_environ import nobody
from tests.support.aws_stub import AwsStub, Call
from tests.support.patience import PATIENCE_S
from tests.support.xray_daemon import Daemon, daemon, facts_of, subsegments_of

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[3]
NEEDED = ("aiobotocore", "aws_lambda_powertools", "aws_xray_sdk", "httpx", "requests")


@pytest.fixture(autouse=True, scope="module")
def _needed() -> None:
    for name in NEEDED:
        pytest.importorskip(name)


@pytest.fixture(name="daemon")
def _daemon() -> Iterator[Daemon]:
    with daemon() as made:
        yield made


def run(script: str, daemon: Daemon, *args: str) -> str:
    """Run it as Lambda runs functions; what it printed."""
    environ = nobody(
        AWS_DEFAULT_REGION="eu-central-1",
        AWS_XRAY_DAEMON_ADDRESS=daemon.address,
        LAMBDA_TASK_ROOT="/var/task",
        POWERTOOLS_SERVICE_NAME="shop",
        PYTHONPATH=os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(ROOT)]),
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, *args],
        env=environ,
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


CALLS = """
import asyncio, sys
from lmi_runtime.integrations.safety import arm
arm()

import aiobotocore.session, botocore.session, httpx, requests
from aws_lambda_powertools import Tracer
from lmi_runtime.integrations import make_safe
from tests.support.crowd import LambdaContext, TaskCrowd, ThreadCrowd

url = sys.argv[1]
tracer = Tracer(patch_modules=("aiobotocore", "botocore", "httpx", "requests"))

@tracer.capture_lambda_handler
def handler(event, context):
    tracer.put_annotation("number", event)
    threads.meet()
    requests.get(f"{url}/requests/{event}")
    httpx.get(f"{url}/httpx/{event}", verify=False)
    client.list_tables(ExclusiveStartTableName=f"botocore/{event}")

@tracer.capture_lambda_handler
async def async_handler(event, context):
    tracer.put_annotation("number", event)
    await tasks.meet()
    await asyncio.gather(call_httpx(event), call_aws(event))

async def call_httpx(number):
    async with httpx.AsyncClient(verify=False) as client:
        await client.get(f"{url}/httpx-async/{number}")

async def call_aws(number):
    async with aio_session.create_client("dynamodb", endpoint_url=url) as client:
        await client.list_tables(ExclusiveStartTableName=f"aiobotocore/{number}")

client = botocore.session.get_session().create_client("dynamodb", endpoint_url=url)
aio_session = aiobotocore.session.get_session()
threads = ThreadCrowd(8)
threads.serve(lambda number: handler(number, LambdaContext(number)))
tasks = TaskCrowd(8)
tasks.serve(lambda number: async_handler(number, LambdaContext(number)))
print(make_safe().not_patched)
"""


def caller_of(call: Call) -> tuple[str, int]:
    """Which library called, for which request."""
    path = json.loads(call.body)["ExclusiveStartTableName"] if call.body else call.path
    library, number = path.strip("/").split("/")
    return library, int(number)


def test_what_is_called_gets_the_trace_of_its_request(daemon: Daemon) -> None:
    """Each call names the subsegment that was made for it as its parent."""
    with AwsStub() as downstream:
        assert run(CALLS, daemon, downstream.url) == "{}\n"
    sent = {document["id"]: document for document in subsegments_of(daemon.documents())}
    libraries = ("requests", "httpx", "botocore", "httpx-async", "aiobotocore")
    assert sorted(map(caller_of, downstream.calls)) == sorted(product(libraries, range(8)))
    for call in downstream.calls:
        _, number = caller_of(call)
        (header,) = call.headers.get_all("X-Amzn-Trace-Id", ())
        root, parent, sampled = header.split(";")
        assert root == f"Root={facts_of(number)[0]}"
        assert sampled == "Sampled=1"
        subsegment = sent[parent.removeprefix("Parent=")]
        assert subsegment["trace_id"] == facts_of(number)[0]
        handler = sent[subsegment["parent_id"]]
        assert handler["annotations"]["number"] == number
        assert handler["parent_id"] == facts_of(number)[1]


PLAIN = """
import asyncio, logging, os, sys
from lmi_runtime.integrations.powertools import make_safe
make_safe()

from aws_lambda_powertools import Tracer
from tests.support.crowd import LambdaContext, request_of

tracer = Tracer(service="shop", auto_patch=False)
logging.basicConfig(stream=sys.stdout)

@tracer.capture_method
async def step(number):
    tracer.put_annotation("number", number)
    await asyncio.sleep(0)

async def steps(number):
    await asyncio.gather(step(number), step(number))

@tracer.capture_lambda_handler
def handler(event, context):
    asyncio.run(steps(event))
    return event

for number in range(3):
    os.environ["_X_AMZN_TRACE_ID"] = request_of(number).trace_id
    handler(number, LambdaContext(number))
"""


def test_one_invocation_at_a_time_as_awss_own_client_makes_them(daemon: Daemon) -> None:
    """The trace is in the environment, no request is there, and nobody is warned."""
    assert run(PLAIN, daemon) == ""
    documents = daemon.documents()
    for number in range(3):
        trace_id, parent_id = facts_of(number)
        *steps, handler = [d for d in documents if d["trace_id"] == trace_id]
        assert handler["parent_id"] == parent_id
        assert handler["annotations"] == {"ColdStart": number == 0, "Service": "shop"}
        assert [step["annotations"] for step in steps] == [{"number": number}] * 2
        assert {step["parent_id"] for step in steps} == {handler["id"]}


LAZY = """
import json, sys
from lmi_runtime.integrations import make_safe
make_safe()
print(json.dumps([name for name in sys.modules if name.startswith("aws_xray_sdk")]))
import aws_lambda_powertools.tracing.tracer
print(json.dumps([name for name in sys.modules if name.startswith("aws_xray_sdk")]))
from aws_xray_sdk.core import xray_recorder
report = make_safe()
print(json.dumps([name in report.patched for name in ("Tracer", "X-Ray", "X-Ray AsyncContext")]))
"""


def test_the_sdk_is_imported_by_nobody_but_the_function(daemon: Daemon) -> None:
    before, with_tracer, patched = map(json.loads, run(LAZY, daemon).splitlines())
    assert before == with_tracer == []
    assert patched == [True, True, False]
