"""A function with boto3, as there are many: a client of the module, and S3 transfers."""

import io
import os
import threading
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig

from lmi_runtime import handler

options = {"region_name": "eu-west-1", "endpoint_url": os.environ["STUB"]}
sqs = boto3.client("sqs", **options)
s3 = boto3.client("s3", **options)
parts = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)

barrier = threading.Barrier(int(os.environ["TOGETHER"]))


@handler(concurrency="threads")
def main(event: dict[str, Any], context: Any) -> None:
    barrier.wait(60)
    sqs.list_queues(QueueNamePrefix=event["caller"])
    s3.upload_fileobj(io.BytesIO(bytes(6 << 20)), "bucket", event["caller"], Config=parts)
