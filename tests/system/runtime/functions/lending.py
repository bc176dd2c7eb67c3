"""Opens things that have to be closed, and says what it knows of its process."""

import logging
import os

from lmi_runtime import handler
from lmi_runtime.context import worker
from lmi_runtime.pools import Pool, resource

logger = logging.getLogger("function")


def tell(what):
    logger.warning("%s in %s", what, os.getpid())


@resource
def settings():
    yield {"kind": "settings"}
    tell("settings closed")


class Connection:
    def __init__(self):
        self.settings = settings()

    def close(self):
        tell("connection closed")


pool = Pool(Connection, max_size=2)


@resource
async def client():
    yield await settings.aget()
    tell("client closed")


@handler
async def main(event, context):
    async with pool.lease() as connection:
        facts = worker()
        return {
            "settings": (await client())["kind"],
            "slots": facts.slots,
            "processes": facts.processes,
            "pid": os.getpid(),
            "connection": type(connection).__name__,
        }


@handler(concurrency="threads")
def in_threads(event, context):
    with pool.lease():
        return {"settings": client.get()["kind"], "pid": os.getpid()}
