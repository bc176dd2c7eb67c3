"""``lmi run``: in Lambda the entry point, on a laptop a whole environment."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from lmi_runtime import bootstrap
from lmi_runtime.cli.arguments import port

if TYPE_CHECKING:
    from lmi_runtime.emulator import Emulator, LogLine

__all__ = ["add_to"]

# The workers begin to poll together, one event loop after the other.
_OTHERS_S = 1.0

_WELCOME = """\
Serving {0} at {1}
  call it:   lmi invoke '{{"name": "you"}}' --endpoint {2}
  or:        boto3.client("lambda", endpoint_url="{2}").invoke(FunctionName="function")
  stop it:   Ctrl-C"""


def add_to(commands: Any) -> None:
    """Add the command."""
    from lmi_runtime.cli.environment import DEFAULT_PORT, add_environment_arguments

    parser = commands.add_parser(
        "run",
        help="serve a handler",
        description="Serve a handler. Where AWS_LAMBDA_RUNTIME_API is set, from that; anywhere "
        "else from a local environment, whose URL is printed.",
    )
    parser.add_argument("handler", nargs="?", help="module.function, such as app.handler")
    add_environment_arguments(parser, concurrency=32)
    parser.add_argument(
        "--port",
        type=port,
        default=DEFAULT_PORT,
        help="of the local invoke API on 127.0.0.1; 0 takes any (default: %(default)s)",
    )
    parser.set_defaults(execute=_execute)


def _execute(arguments: argparse.Namespace) -> int:
    if os.environ.get("AWS_LAMBDA_RUNTIME_API"):
        return bootstrap.run(arguments.handler, mode=arguments.mode)
    arguments.handler = arguments.handler or os.environ.get("_HANDLER")
    if not arguments.handler:
        print("lmi run: name a handler, such as app.handler", file=sys.stderr)
        return 2
    return asyncio.run(_serve_locally(arguments))


async def _serve_locally(arguments: argparse.Namespace) -> int:
    from lmi_runtime.cli.environment import local_environment

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with local_environment(arguments, port=arguments.port, on_line=_show) as environment:
        stopped = loop.create_task(stop.wait())
        exited = loop.create_task(environment.wait_exited())
        ready = loop.create_task(_wait_served(environment.emulator, arguments.concurrency))
        await asyncio.wait({stopped, exited, ready}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done() and not exited.done():
            url = environment.emulator.endpoint_url
            print(
                _WELCOME.format(arguments.handler, environment.emulator.url, url), file=sys.stderr
            )
            await asyncio.wait({stopped, exited}, return_when=asyncio.FIRST_COMPLETED)
        code = exited.result() if exited.done() else 0
        for task in (stopped, exited, ready):
            task.cancel()
        await asyncio.gather(stopped, exited, ready, return_exceptions=True)
    if code:
        print(f"lmi run: the runtime ended with exit code {code}", file=sys.stderr)
    return 1 if code else 0


async def _wait_served(emulator: Emulator, concurrency: int) -> None:
    """Wait until somebody polls, and then for the others, so that no early call is refused."""
    await emulator.wait_ready()
    # A handler with a limit of its own is never polled for so often.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_OTHERS_S):
            await emulator.wait_ready(polls=concurrency)


def _show(line: LogLine) -> None:
    print(line.text, file=sys.stdout if line.source == "stdout" else sys.stderr, flush=True)
