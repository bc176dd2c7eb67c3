"""Writes files: in a directory of the request's own, and under a fixed name."""

import asyncio
from pathlib import Path

from lmi_runtime import handler
from lmi_runtime.caches.scratch import request_tmpdir

written = []
both = asyncio.Event()


@handler
async def main(event, context):
    own = request_tmpdir()
    (own / "report.txt").write_text("mine")
    Path(event["path"]).write_text("whose?")  # noqa: ASYNC240
    written.append(context.aws_request_id)
    if len(written) == 2:
        both.set()
    await both.wait()
    return str(own)
