"""Traces what it does, at the same time as others do, in threads."""

import os
import threading
from typing import Any

from aws_lambda_powertools import Tracer

from lmi_runtime import handler

tracer = Tracer(service="shop", auto_patch=False)
together = threading.Barrier(int(os.environ["TOGETHER"]))


@tracer.capture_method
def step(caller: int) -> None:
    tracer.put_annotation("caller", caller)


@handler(concurrency="threads")
@tracer.capture_lambda_handler
def main(event: dict[str, int], context: Any) -> None:
    together.wait(60)
    helper = threading.Thread(target=step, args=(event["caller"],))
    helper.start()
    step(event["caller"])
    helper.join()
    together.wait(60)
    tracer.put_annotation("caller", event["caller"])
