"""What keeps an environment from starting is said once, to people, platform and callers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.system.runtime.environments import Aws, Embedded, Runtime

pytestmark = pytest.mark.system

Start = Callable[..., Any]
Make = Callable[..., Runtime]

CASES = [
    pytest.param(
        *("tasks.mein", {}, "Runtime.HandlerNotFound"),
        "Handler 'mein' missing on module 'tasks'. Did you mean 'main'?",
        id="unknown-function",
    ),
    pytest.param(
        *("nothing.main", {}, "Runtime.ImportModuleError"),
        "Unable to import module 'nothing': No module named 'nothing'",
        id="unknown-module",
    ),
    pytest.param(
        *("nodot", {}, "Runtime.MalformedHandlerName"), "Bad handler 'nodot'", id="no-dot"
    ),
    pytest.param(
        *("raises.main", {}, "Function.LookupError"),
        "Module 'raises' raised LookupError while it was imported: no such luck",
        id="module-raises",
    ),
    pytest.param(
        *("exits.main", {}, "Function.SystemExit"),
        "Module 'exits' raised SystemExit while it was imported: had enough. A handler's module "
        "must not exit; put that under `if __name__ == '__main__':`.",
        id="module-exits",
    ),
    pytest.param(
        *("signature.main", {}, "Runtime.HandlerSignatureError"),
        "has to take (event, context) or (event)",
        id="wrong-signature",
    ),
    pytest.param(
        *("threads.main", {"AWS_LAMBDA_CONCURRENCY_MODE": "async"}, "Runtime.UnsupportedMode"),
        "needs an `async def` handler",
        id="mode-that-cannot-be",
    ),
    pytest.param(
        *("tasks.main", {"LMI_BACKEND": "twisted"}, "Runtime.InvalidConfiguration"),
        "LMI_BACKEND='twisted'",
        id="unknown-backend",
    ),
]


def check_failure(runtime: Runtime, error_type: str, message: str) -> None:
    reply = runtime.call({})
    assert (reply.status, reply.error_type) == (200, error_type)

    line = runtime.wait_for(level="ERROR", logger="lmi_runtime.bootstrap")
    assert message in line["errorMessage"]
    assert line["timestamp"]
    assert line["message"] == "The function could not be started"
    assert len(runtime.records(level="ERROR")) == 1


@pytest.mark.parametrize(("handler", "env", "error_type", "message"), CASES)
def test_a_function_that_cannot_start_says_why(
    start: Start, handler: str, env: dict[str, str], error_type: str, message: str
) -> None:
    runtime = start(Embedded, handler, env=env, ready=0)

    check_failure(runtime, error_type, message)
    assert runtime.wait_exited() == 1


@pytest.mark.rie
@pytest.mark.parametrize(("handler", "env", "error_type", "message"), [CASES[0], CASES[4]])
def test_a_function_that_cannot_start_says_why_under_awss_emulator(
    start: Start, handler: str, env: dict[str, str], error_type: str, message: str
) -> None:
    check_failure(start(Aws, handler, env=env, ready=0), error_type, message)


@pytest.mark.parametrize("text", ["many", "0"])
def test_a_limit_that_is_no_number_is_an_error(start: Start, text: str) -> None:
    """Falling back to one would serve, a thirtieth as fast, and nobody would know why."""
    runtime = start(Embedded, "tasks.main", env={"AWS_LAMBDA_MAX_CONCURRENCY": text}, ready=0)

    message = f"AWS_LAMBDA_MAX_CONCURRENCY='{text}' is not a whole number of at least 1."
    check_failure(runtime, "Runtime.InvalidConcurrency", message)
    assert runtime.wait_exited() == 1


def test_the_stack_of_a_module_that_raises_is_its_own(start: Start) -> None:
    runtime = start(Embedded, "raises.main", ready=0)

    line = runtime.wait_for(level="ERROR")

    [frame] = line["stackTrace"]
    assert 'raises.py", line 3' in frame


def test_a_module_that_raises_in_every_worker_ends_the_environment(start: Start) -> None:
    """Without preloading the workers find out, and the environment gives up in the end."""
    env = {"LMI_PRELOAD": "0", "STARTED_BY": str(os.getpid())}
    runtime = start(Embedded, "raises_late.main", env=env, slots=4, vcpus=2, ready=0)

    reply = runtime.call({})

    assert reply.error_type == "Function.LookupError"
    assert runtime.wait_exited() == 1
    runtime.wait_for(level="WARNING", message="LMI_PRELOAD=0: each worker imports the handler.")
