"""The local environment that `lmi run` and `lmi load` start."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

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
        type=_positive,
        default=concurrency,
        metavar="N",
        help="invocations at once in the environment (default: %(default)s)",
    )
    parser.add_argument(
        "--vcpus", type=_positive, metavar="K", help="vCPUs to pretend (default: this machine's)"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="the function's time-out (default: %(default)g)",
    )
    parser.add_argument(
        "--env",
        action="append",
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
        CliError: The port is taken.
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
    )
    env = dict(_pair(text) for text in arguments.env)
    if arguments.vcpus:
        env["LMI_VCPUS"] = str(arguments.vcpus)
    emulator = Emulator(options, invoke_port=port)
    environment = LocalEnvironment(command, env=env, on_line=on_line, emulator=emulator)
    try:
        await environment.__aenter__()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise CliError(f"Port {port} is taken. Choose another with --port.") from error
    try:
        yield environment
    finally:
        await environment.stop()


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CliError(f"--env {text!r} is not NAME=VALUE.")
    return name, value
