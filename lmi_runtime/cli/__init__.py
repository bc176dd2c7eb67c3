"""``lmi``: run a handler locally or in Lambda, call it, put load on it. Decides nothing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lmi_runtime import __version__
from lmi_runtime.cli import invoke, load, run
from lmi_runtime.cli.errors import CliError

__all__ = ["main"]

_COMMANDS = (run, invoke, load)


def main(argv: Sequence[str] | None = None) -> int:
    """
    The ``lmi`` command.

    Returns:
        0 when it worked, 1 when the function or the load did not, 2 for a wrong command line.
    """
    parser = argparse.ArgumentParser(
        prog="lmi", description="Serve a Lambda handler, call it, put load on it."
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
