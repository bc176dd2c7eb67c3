"""
Functions that trace what they call, in a process that Lambda's variables were set for.

The SDK looks at them when it is imported, so each test has a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.xray_daemon import Daemon, daemon, facts_of, subsegments_of

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[3]
NEEDED = ("aiobotocore", "aws_lambda_powertools", "aws_xray_sdk", "httpx", "requests")

PATIENCE_S = 50


@pytest.fixture(autouse=True, scope="module")
def _needed() -> None:
    for name in NEEDED:
        pytest.importorskip(name)


@pytest.fixture(name="daemon")
def _daemon() -> Iterator[Daemon]:
    with daemon() as made:
        yield made


class Downstream(BaseHTTPRequestHandler):
    """Answers everything, and notes who was called with which trace."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b'{"TableNames": []}'
        number = self.headers.get("Authorization", "").partition("Credential=number")[2]
        caller = f"/botocore/{number.partition('/')[0]}" if number else self.path
        self.server.seen.append((caller, self.headers.get_all("X-Amzn-Trace-Id")))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def downstream() -> Iterator[Any]:
    ThreadingHTTPServer.request_queue_size = 128
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Downstream)
    server.seen = []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def run(script: str, daemon: Daemon, *args: str, **variables: str) -> str:
    """Run it as Lambda runs functions; what it printed."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environ |= {
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_LAMBDA_FUNCTION_NAME": "function",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_XRAY_DAEMON_ADDRESS": daemon.address,
        "LAMBDA_TASK_ROOT": "/var/task",
        "POWERTOOLS_SERVICE_NAME": "shop",
        "PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(ROOT)]),
    }
    environ.pop("_X_AMZN_TRACE_ID", None)
    ran = subprocess.run(
        [sys.executable, "-c", script, *args],
        env=environ | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
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
from tests.support.crowd import COUNT, LambdaContext, TaskCrowd, ThreadCrowd

url = sys.argv[1]
tracer = Tracer(patch_modules=("aiobotocore", "botocore", "httpx", "requests"))
key = lambda number: {"aws_access_key_id": f"number{number}", "aws_secret_access_key": "none"}

@tracer.capture_lambda_handler
def handler(event, context):
    tracer.put_annotation("number", event)
    client = clients[event]
    threads.meet()
    requests.get(f"{url}/requests/{event}")
    httpx.get(f"{url}/httpx/{event}")
    client.list_tables()

@tracer.capture_lambda_handler
async def async_handler(event, context):
    tracer.put_annotation("number", event)
    await tasks.meet()
    await asyncio.gather(call_httpx(event), call_aws(event))

async def call_httpx(number):
    async with httpx.AsyncClient() as client:
        await client.get(f"{url}/httpx-async/{number}")

async def call_aws(number):
    async with aio_session.create_client("dynamodb", endpoint_url=url, **key(number)) as client:
        await client.list_tables()

session = botocore.session.get_session()
aio_session = aiobotocore.session.get_session()
if sys.argv[2] == "threads":
    threads = ThreadCrowd(10)
    clients = [
        session.create_client("dynamodb", endpoint_url=url, **key(number)) for number in range(10)
    ]
    threads.serve(lambda number: handler(number, LambdaContext(number)))
else:
    tasks = TaskCrowd(10)
    tasks.serve(lambda number: async_handler(number, LambdaContext(number)))
print(make_safe().not_patched)
"""


@pytest.mark.parametrize(
    ("how", "callers"),
    [("threads", {"requests", "httpx", "botocore"}), ("tasks", {"httpx-async", "botocore"})],
)
def test_what_is_called_gets_the_trace_of_its_request(
    daemon: Daemon, downstream: Any, how: str, callers: set[str]
) -> None:
    """Each call names the subsegment that was made for it as its parent."""
    assert run(CALLS, daemon, downstream.url, how) == "{}\n"
    sent = {document["id"]: document for document in subsegments_of(daemon.documents())}
    assert len(downstream.seen) == 10 * len(callers)
    assert {caller.split("/")[1] for caller, _ in downstream.seen} == callers
    for caller, headers in downstream.seen:
        (header,) = headers
        root, parent, sampled = header.split(";")
        number = int(caller.split("/")[2])
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
