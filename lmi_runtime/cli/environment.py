"""The local environment that `lmi run` and `lmi load` start."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from lmi_runtime.cli.arguments import pair, positive, seconds
from lmi_runtime.cli.errors import CliError
from lmi_runtime.emulator import Emulator, EmulatorOptions, LocalEnvironment, LogLine
from lmi_runtime.model import Mode

__all__ = ["DEFAULT_PORT", "add_environment_arguments", "local_environment"]

DEFAULT_PORT = 9000
"""Where `lmi run` listens and `lmi invoke` calls."""

_MIB_PER_VCPU = 2048


def add_environment_arguments(parser: argparse.ArgumentParser, *, concurrency: int) -> None:
    """Add the arguments that describe the execution environment."""
    parser.add_argument(
        "--mode",
        choices=[mode.value for mode in Mode],
        help="how invocations share processes (default: what the handler asks for)",
    )
    parser.add_argument(
        "--concurrency",
        type=positive,
        default=concurrency,
        metavar="N",
        help="invocations at once in the environment (default: %(default)s)",
    )
    parser.add_argument(
        "--vcpus", type=positive, metavar="K", help="vCPUs to pretend (default: this machine's)"
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="the function's time-out (default: %(default)g)",
    )
    parser.add_argument(
        "--env",
        action="append",
        type=pair,
        default=[],
        metavar="NAME=VALUE",
        help="a variable for the function; may be given more than once",
    )


@asynccontextmanager
async def local_environment(
    arguments: argparse.Namespace, *, port: int, on_line: Callable[[LogLine], None]
) -> AsyncIterator[LocalEnvironment]:
    """
    Run the handler in an embedded environment.

    Raises:
        CliError: The port is taken, or not ours to take.
    """
    command = [sys.executable, "-m", "lmi_runtime", arguments.handler]
    if arguments.mode:
        command += ["--mode", arguments.mode]
    vcpus = arguments.vcpus or os.cpu_count() or 1
    options = EmulatorOptions(
        handler=arguments.handler,
        timeout_s=arguments.timeout,
        max_concurrency=arguments.concurrency,
        memory_mb=vcpus * _MIB_PER_VCPU,
        strict=False,
        make_up_traces=True,
    )
    # The service sets a level for functions that log JSON, and so their INFO lines show.
    env = {"AWS_LAMBDA_LOG_LEVEL": "INFO", **dict(arguments.env)}
    if arguments.vcpus:
        env["LMI_VCPUS"] = str(arguments.vcpus)
    emulator = Emulator(options, invoke_port=port)
    environment = LocalEnvironment(command, env=env, on_line=on_line, emulator=emulator)
    try:
        await environment.__aenter__()
    except OSError as error:
        trouble = {errno.EADDRINUSE: "is taken", errno.EACCES: "needs more rights than yours"}
        if error.errno not in trouble:
            raise
        raise CliError(
            f"Port {port} {trouble[error.errno]}. Choose another with --port."
        ) from error
    try:
        yield environment
    finally:
        await environment.stop()
