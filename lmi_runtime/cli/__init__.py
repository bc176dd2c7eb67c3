"""``lmi``: run a handler, call it, put load on it, look for its races. Decides nothing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lmi_runtime import __version__
from lmi_runtime.cli import invoke, load, run, stress
from lmi_runtime.cli.errors import CliError

__all__ = ["main"]

_COMMANDS = (run, invoke, load, stress)


def main(argv: Sequence[str] | None = None) -> int:
    """
    The ``lmi`` command.

    Returns:
        0 when it worked, 1 when the function or the load did not, 2 for a wrong command line, 3
        when `lmi stress` could prove nothing, 130 when interrupted.
    """
    parser = argparse.ArgumentParser(
        prog="lmi", description="Serve a Lambda handler, call it, put load on it, find its races."
    )
    parser.add_argument("--version", action="version", version=f"lmi_runtime {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_to(commands)
    arguments = parser.parse_args(argv)
    try:
        code: int = arguments.execute(arguments)
    except KeyboardInterrupt:
        return 130
    except CliError as error:
        print(f"lmi: {error}", file=sys.stderr)
        return 2
    return code
