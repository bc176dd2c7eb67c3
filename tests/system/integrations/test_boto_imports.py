"""What is imported, and in which order, before calls to AWS; each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support.aws_stub import AwsStub

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
    environ = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
    nowhere = str(Path(sys.executable) / "none")
    environ |= {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": nowhere,
        "AWS_SHARED_CREDENTIALS_FILE": nowhere,
        "AWS_LAMBDA_FUNCTION_NAME": "function",
    }
    whole = "import sys\n" + textwrap.dedent(SERVE) + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", whole, url],
        env=environ,
        capture_output=True,
        text=True,
        timeout=50,
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
    with AwsStub() as stub:
        run(
            """
            from lmi_runtime.integrations.safety import arm
            arm()
            serve(sqs().list_queues)
            """,
            stub.url,
        )

    assert [call.headers[HEADER] for call in stub.calls] == ["Root=own"]


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


@pytest.mark.slow
def test_the_header_of_xrays_subsegment_wins() -> None:
    pytest.importorskip("aws_xray_sdk")
    with AwsStub() as stub:
        run(
            """
            from lmi_runtime.integrations.safety import arm
            arm()
            from aws_xray_sdk.core import patch, xray_recorder
            patch(["botocore"])

            def traced():
                xray_recorder.configure(sampling=False, service="service")
                segment = xray_recorder.begin_segment("name", traceid="1-67891233-" + "a" * 24)
                sqs().list_queues()
                segment.close = lambda *args: None

            serve(traced)
            """,
            stub.url,
        )

    (header,) = [call.headers[HEADER] for call in stub.calls]
    assert header.startswith("Root=1-67891233-aaaaaaaaaaaaaaaaaaaaaaaa;Parent=")


@pytest.mark.slow
def test_a_mock_within_the_process_is_asked_as_ever() -> None:
    pytest.importorskip("moto")
    shown = run("""
        from moto import mock_aws
        from lmi_runtime.integrations.boto import client
        with mock_aws():
            sqs = client("sqs", region="eu-west-1")
            serve(lambda: sqs.create_queue(QueueName="queue"))
            print(len(sqs.list_queues()["QueueUrls"]))
    """)

    assert shown == "1\n"
