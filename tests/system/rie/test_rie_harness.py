"""The harness itself, with AWS's own Python client as the runtime under it."""

from __future__ import annotations

import http.client
import json
import signal
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.support.patience import PATIENCE_S
from tests.support.rie import Reply, Rie

pytestmark = [pytest.mark.rie, pytest.mark.system, pytest.mark.slow]

APP = """
import os
from tests.support.patience import PATIENCE_S

def handler(event, context):
    print("seen", event["n"], flush=True)
    return {"n": event["n"], "pid": os.getpid(), "uid": os.getuid()}
"""
AWS_CLIENT = ["-m", "awslambdaric", "app.handler"]


def is_running(pid: int) -> bool:
    """A zombie has ended; init takes it away when it likes."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def invoke_until_taken(rie: Rie, n: int) -> Reply:
    """The emulator never queues: it refuses a call while no worker is polling."""
    while True:
        reply = rie.invoke(json.dumps({"n": n}).encode())
        if reply.error_type != "Runtime.Unavailable":
            return reply


def test_aws_client_answers_each_of_20_concurrent_callers_with_its_own_result() -> None:
    with Rie({"app.py": APP}, AWS_CLIENT, max_concurrency=4) as rie:
        rie.wait_for_connections(4)
        workers = rie.pids()
        with ThreadPoolExecutor(20) as callers:
            replies = list(callers.map(lambda n: invoke_until_taken(rie, n), range(20)))
        answers = [json.loads(reply.body) for reply in replies]
        rie.wait_for_log("seen 19")

    assert [reply.error_type for reply in replies] == [None] * 20
    assert [answer["n"] for answer in answers] == list(range(20))
    assert {answer["uid"] for answer in answers} == {993}
    assert {answer["pid"] for answer in answers} <= set(workers)
    assert len(workers) == 5  # AWS's parent and a process for each request


def test_leaving_the_harness_ends_even_what_has_left_its_process_group() -> None:
    detach = "import os, time; os.setsid(); print('detached', flush=True); time.sleep(600)"
    with Rie({}, ["-c", f"import os, time; os.fork() and time.sleep(600); {detach}"]) as rie:
        rie.wait_for_log("detached")
        started = rie.pids()

    assert len(started) == 2
    assert not [pid for pid in started if is_running(pid)]


def test_a_test_can_be_the_runtime_itself() -> None:
    with Rie({}, None, max_concurrency=1) as rie, ThreadPoolExecutor(1) as caller:
        connection = http.client.HTTPConnection(rie.runtime_api, timeout=PATIENCE_S)
        reply = caller.submit(rie.invoke, b'{"hello": 1}', {"X-Amzn-RequestId": "r-1"})
        connection.request("GET", "/2018-06-01/runtime/invocation/next")
        polled = connection.getresponse()
        event = polled.read()
        connection.request("POST", "/2018-06-01/runtime/invocation/r-1/response", b"done")
        accepted = connection.getresponse()
        accepted.read()
        connection.close()

        assert event == b'{"hello": 1}'
        assert polled.getheader("Lambda-Runtime-Aws-Request-Id") == "r-1"
        assert accepted.status == 202
        assert reply.result(PATIENCE_S).body == b"done"


def test_an_environment_without_extensions_is_killed_at_shutdown() -> None:
    with Rie({"app.py": APP}, AWS_CLIENT, max_concurrency=2) as rie:
        rie.wait_for_connections(2)
        code = rie.shutdown(signal.SIGTERM)

        assert code == 0
        assert rie.pids() == []
