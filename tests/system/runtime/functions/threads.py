"""Sync handlers that do as their event says: thread-safe, and not."""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from lmi_runtime import RequestScope, current, handler

logger = logging.getLogger("function")
released = threading.Event()


class Scope(RequestScope):
    caller: str = "nobody"


scope = Scope()


@handler(concurrency="threads")
def main(event: Any, context: Any) -> Any:
    return ACTIONS[event["do"]](event, context)


@handler
def alone(event: Any, context: Any) -> Any:
    return ACTIONS[event["do"]](event, context)


def undecorated(event: Any, context: Any) -> Any:
    return ACTIONS[event["do"]](event, context)


def identity(event: Any, context: Any) -> Any:
    return {
        "pid": os.getpid(),
        "thread": threading.get_ident(),
        "main": threading.current_thread() is threading.main_thread(),
        "request": current().request_id,
        "context": context.aws_request_id,
        "trace": current().trace_id,
        "environ": os.environ.get("_X_AMZN_TRACE_ID"),
    }


def fail(event: Any, context: Any) -> Any:
    raise {"ValueError": ValueError, "SystemExit": SystemExit, "Interrupt": KeyboardInterrupt}[
        event["raise"]
    ]("wanted")


def exit_now(event: Any, context: Any) -> Any:
    os._exit(event["code"])


def hold(event: Any, context: Any) -> Any:
    logger.info("holding")
    released.wait()
    logger.info("let go")
    return "too late"


def release(event: Any, context: Any) -> Any:
    global released
    # Those who come later wait again.
    released, before = threading.Event(), released
    before.set()


def pause(event: Any, context: Any) -> Any:
    time.sleep(event["seconds"])


def chatter(event: Any, context: Any) -> Any:
    for number in range(event["lines"]):
        logger.info("line %d %s", number, "x" * event["bytes"])


def large(event: Any, context: Any) -> Any:
    return "x" * event["bytes"]


def mingle(event: Any, context: Any) -> Any:
    me = event["me"]
    scope.caller = me
    seen = [me, current().request_id, context.aws_request_id, scope.caller]
    time.sleep(event["wait"])
    logger.info("logged by %s", me)
    print(f"begun by {me}", end="")
    seen += [current().request_id, scope.caller]
    print(f", ended by {me}")
    return {"seen": seen, "environ": os.environ.get("_X_AMZN_TRACE_ID")}


_ACTIONS = (identity, fail, exit_now, hold, release, pause, chatter, large, mingle)
ACTIONS: dict[str, Callable[[Any, Any], Any]] = {action.__name__: action for action in _ACTIONS}
