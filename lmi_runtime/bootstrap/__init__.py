"""The one place that builds the parts and joins them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from lmi_runtime.errors import ConfigurationError
from lmi_runtime.model import Mode, Settings

__all__ = ["add_run_arguments", "main", "run"]


def main(argv: Sequence[str] | None = None) -> int:
    """
    Serve a handler: ``python -m lmi_runtime app.handler``, the form awslambdaric has.

    Args:
        argv: Arguments without the program's name; by default the command line's.

    Returns:
        The exit code for this process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m lmi_runtime",
        description="Serve a Lambda handler from the Runtime API in AWS_LAMBDA_RUNTIME_API.",
    )
    add_run_arguments(parser)
    arguments = parser.parse_args(argv)
    return run(arguments.handler, mode=arguments.mode)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say what to serve, and how."""
    parser.add_argument(
        "handler", nargs="?", help="module.function, such as app.handler (default: $_HANDLER)"
    )
    parser.add_argument(
        "--mode",
        choices=[mode.value for mode in Mode],
        help="how invocations share processes (default: what the handler asks for)",
    )


def run(handler: str | None, *, mode: str | None = None) -> int:
    """
    Serve `handler` until the platform ends this environment; returns the exit code.

    Args:
        handler: ``module.function``; None takes ``_HANDLER``.
        mode: Wins over ``AWS_LAMBDA_CONCURRENCY_MODE``.
    """
    address = os.environ.get("AWS_LAMBDA_RUNTIME_API")
    if not address:
        print(
            "AWS_LAMBDA_RUNTIME_API is not set: there is nothing to poll. Inside Lambda the "
            "platform sets it; on a laptop, `lmi run` starts a local environment.",
            file=sys.stderr,
        )
        return 2
    # Only now: `lmi --help` and its like need none of it.
    from lmi_runtime.bootstrap import classic, managed
    from lmi_runtime.bootstrap.reports import report_init_error

    try:
        settings = Settings.from_environ(handler, os.environ, mode=mode, cwd=os.getcwd())
    except ConfigurationError as error:
        return report_init_error(address, error)
    serve = classic.serve if settings.max_concurrency is None else managed.serve
    return serve(settings)
