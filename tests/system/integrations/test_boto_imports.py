"""What is imported, and in which order, before calls to AWS; each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from tests.support.aws_environ import nobody
from tests.support.aws_stub import AwsStub
from tests.support.patience import PATIENCE_S

pytest.importorskip("boto3")

pytestmark = pytest.mark.system

HEADER = "X-Amzn-Trace-Id"

SERVE = """
    from lmi_runtime import context
    from lmi_runtime.context import Request
    from lmi_runtime.model import Invocation

    def serve(job):
        with context.serving(Request(Invocation(request_id="r", trace_id="Root=own"))):
            job()

    def sqs():
        import boto3
        return boto3.client("sqs", region_name="eu-west-1", endpoint_url=sys.argv[1])
"""


def run(script: str, url: str = "") -> str:
    """Run it with nobody's credentials; what it printed."""
    whole = "import sys\n" + textwrap.dedent(SERVE) + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", whole, url],
        env=nobody(),
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_of_boto_is_imported_by_looking_at_it() -> None:
    shown = run("""
        import lmi_runtime.integrations.boto
        from lmi_runtime.integrations.safety import arm, make_safe
        arm()
        make_safe()
        print([name for name in sys.modules if name.split(".")[0] in
               ("boto3", "botocore", "s3transfer", "urllib3", "aiobotocore", "aiohttp")])
    """)

    assert shown == "[]\n"


def test_armed_before_the_function_is_imported() -> None:
    """And the header of X-Ray's subsegment wins, where there is one."""
    pytest.importorskip("aws_xray_sdk")
    with AwsStub() as stub:
        run(
            """
            from lmi_runtime.integrations.safety import arm
            arm()
            client = sqs()
            serve(client.list_queues)
            from aws_xray_sdk.core import patch, xray_recorder
            patch(["botocore"])

            def traced():
                xray_recorder.configure(sampling=False, service="service")
                segment = xray_recorder.begin_segment("name", traceid="1-67891233-" + "a" * 24)
                client.list_queues()
                segment.close = lambda *args: None

            serve(traced)
            """,
            stub.url,
        )

    own, traced = [call.headers[HEADER] for call in stub.calls]
    assert own == "Root=own"
    assert traced.startswith("Root=1-67891233-aaaaaaaaaaaaaaaaaaaaaaaa;Parent=")


def test_made_safe_after_clients_were_made() -> None:
    with AwsStub() as stub:
        run(
            """
            client = sqs()
            client.list_queues()
            from lmi_runtime.integrations.safety import make_safe
            assert "boto3 trace header" in make_safe().patched
            serve(client.list_queues)
            """,
            stub.url,
        )

    assert [call.headers[HEADER] for call in stub.calls] == [None, "Root=own"]
