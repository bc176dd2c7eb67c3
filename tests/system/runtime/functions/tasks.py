"""An async handler that does as its event says."""

import asyncio
import ctypes
import logging
import os
import signal
import threading
import time
import warnings
from datetime import date
from decimal import Decimal
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread

from lmi_runtime import RequestScope, current, handler, spawn_thread

logger = logging.getLogger("function")
print(f"imported by {os.getpid()}")

released = threading.Event()


class Scope(RequestScope):
    caller: str = "nobody"


scope = Scope()


class Custom(BaseException):
    """Not an `Exception`, and no way out of the process either."""


@handler
async def main(event: Any, context: Any) -> Any:
    if not isinstance(event, dict) or "do" not in event:
        return {"event": event.decode("latin-1") if isinstance(event, bytes) else event}
    return await globals()[event["do"]](event, context)


async def undecorated(event: Any, context: Any) -> Any:
    return await main.__wrapped__(event, context)


@handler(serializer="orjson")
async def with_orjson(event: Any, context: Any) -> Any:
    return {"event": event, "when": date(2026, 1, 2)}


@handler(max_per_vcpu=2)
async def limited(event: Any, context: Any) -> Any:
    return event


@handler(deadline="report")
async def patient(event: Any, context: Any) -> Any:
    return await main.__wrapped__(event, context)


async def identity(event: Any, context: Any) -> Any:
    return {
        "pid": os.getpid(),
        "loop": loop_name(),
        "request": current().request_id,
        "context": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "left_ms": context.get_remaining_time_in_millis(),
        "trace": current().trace_id,
        "environ": os.environ.get("_X_AMZN_TRACE_ID"),
        "client": context.client_context and context.client_context.custom,
    }


def loop_name() -> str:
    try:
        return type(asyncio.get_running_loop()).__module__.split(".")[0]
    except RuntimeError:
        return "trio"


# ---- ways to fail


async def fail(event: Any, context: Any) -> Any:
    raise {
        "ValueError": ValueError,
        "SystemExit": SystemExit,
        "KeyboardInterrupt": KeyboardInterrupt,
        "Custom": Custom,
        "CancelledError": asyncio.CancelledError,
    }[event["raise"]](event.get("text", "wanted"))


async def fail_in_child(event: Any, context: Any) -> Any:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fail(event, context))


async def fail_in_background(event: Any, context: Any) -> Any:
    task = asyncio.get_running_loop().create_task(fail(event, context))
    await asyncio.wait({task})
    return "outlived it"


async def fail_in_thread(event: Any, context: Any) -> Any:
    await anyio.to_thread.run_sync(lambda: anyio.run(fail, event, context))


async def unencodable(event: Any, context: Any) -> Any:
    return {"value": object()}


async def variable(event: Any, context: Any) -> Any:
    return os.environ[event["name"]]


async def exact(event: Any, context: Any) -> Any:
    return {"price": Decimal("1.10"), "text": "é"}


async def large(event: Any, context: Any) -> Any:
    return "x" * event["bytes"]


# ---- ways to end a process


async def exit_now(event: Any, context: Any) -> Any:
    os._exit(event["code"])


async def kill(event: Any, context: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


async def kill_all(event: Any, context: Any) -> Any:
    os.kill(os.getppid(), signal.SIGKILL)


async def segfault(event: Any, context: Any) -> Any:
    ctypes.string_at(0)


# ---- ways to take long


async def hold(event: Any, context: Any) -> Any:
    logger.info("holding", extra={"pid": os.getpid()})
    await anyio.to_thread.run_sync(released.wait)
    return event.get("as", "let go")


async def release(event: Any, context: Any) -> Any:
    global released
    # Those who come later wait again.
    released, before = threading.Event(), released
    before.set()


async def block(event: Any, context: Any) -> Any:
    blocking_call(event["until"])
    return "at last"


def blocking_call(until: str) -> None:
    while not os.path.exists(until):
        time.sleep(0.01)


async def pause(event: Any, context: Any) -> Any:
    await anyio.sleep(event["seconds"])


async def overrun(event: Any, context: Any) -> Any:
    try:
        await anyio.sleep_forever()
    finally:
        logger.info("cleaned up")


async def overrun_stubbornly(event: Any, context: Any) -> Any:
    logger.info("holding", extra={"pid": os.getpid()})
    with anyio.CancelScope(shield=True):
        waits_for = released
        while not waits_for.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                logger.info("will not stop")
    return "too late"


# ---- isolation


async def mingle(event: Any, context: Any) -> Any:
    """Say who one is in every way there is, with waits in between for the others to run."""
    me = event["me"]
    scope.caller = me
    seen = [me, current().request_id, context.aws_request_id, scope.caller]
    await anyio.sleep(event["wait"])
    logger.info("logged by %s", me)
    print(f"printed by {me}")
    print(f"begun by {me}", end="")
    warnings.warn(f"warned by {me}", stacklevel=1)
    seen.append(await anyio.to_thread.run_sync(lambda: (current().request_id, scope.caller)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_who, seen)
    done = threading.Event()
    spawn_thread(lambda: (seen.append((current().request_id, scope.caller)), done.set()))
    await anyio.to_thread.run_sync(done.wait)
    print(f", ended by {me}")
    return {
        "seen": seen,
        "trace": current().trace_id,
        "environ": os.environ.get("_X_AMZN_TRACE_ID"),
    }


async def _who(seen: list[Any]) -> None:
    await anyio.lowlevel.checkpoint()
    seen.append((current().request_id, scope.caller))


async def chatter(event: Any, context: Any) -> Any:
    for number in range(event["lines"]):
        logger.info("line %d %s", number, "x" * event["bytes"], extra={"pid": os.getpid()})
    return os.getpid()


async def mumble(event: Any, context: Any) -> Any:
    print(event["text"], end="")


async def shout(event: Any, context: Any) -> Any:
    print("x" * event["bytes"])
    print("said")
