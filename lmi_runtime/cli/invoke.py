"""``lmi invoke``: one call."""

from __future__ import annotations

import argparse
import http.client
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from lmi_runtime.cli.errors import CliError

__all__ = ["add_to", "read_event"]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def add_to(commands: Any) -> None:
    """Add the command."""
    from lmi_runtime.cli.environment import DEFAULT_PORT

    parser = commands.add_parser(
        "invoke",
        help="call a handler that `lmi run` serves",
        description="Call a handler that `lmi run` serves, and print what it returned.",
    )
    parser.add_argument(
        "event", nargs="?", default="{}", help="JSON, @FILE, or - for standard input (default: {})"
    )
    parser.add_argument(
        "--endpoint", default=f"http://127.0.0.1:{DEFAULT_PORT}", help="(default: %(default)s)"
    )
    parser.add_argument("--function", default="function", help="function name (default: any)")
    parser.add_argument("--timeout", type=float, default=900.0, metavar="SECONDS")
    parser.set_defaults(execute=_execute)


def read_event(text: str) -> bytes:
    """
    The event that an argument means.

    Raises:
        CliError: The file cannot be read, or what is given is not JSON.
    """
    try:
        if text == "-":
            data = sys.stdin.buffer.read()
        elif text.startswith("@"):
            data = Path(text[1:]).read_bytes()
        else:
            data = text.encode()
    except OSError as error:
        raise CliError(f"Cannot read the event: {error}") from error
    try:
        json.loads(data)
    except ValueError as error:
        raise CliError(f"The event is not JSON: {error}") from error
    return data


def _execute(arguments: argparse.Namespace) -> int:
    where = urlsplit(arguments.endpoint)
    if where.hostname not in _LOOPBACK:
        raise CliError(f"{arguments.endpoint} is not on this machine; use the AWS CLI for Lambda.")
    event = read_event(arguments.event)
    connection = http.client.HTTPConnection(
        where.hostname, where.port or 80, timeout=arguments.timeout
    )
    path = f"/2015-03-31/functions/{quote(arguments.function, safe='')}/invocations"
    try:
        connection.request("POST", path, event, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = answer.read()
    except OSError as error:
        raise CliError(
            f"Nobody answers at {arguments.endpoint} ({error}). Start `lmi run` first."
        ) from error
    finally:
        connection.close()
    sys.stdout.buffer.write(body.rstrip(b"\n") + b"\n")
    sys.stdout.flush()
    error_type = answer.getheader("Error-Type") or answer.getheader("X-Amz-Function-Error")
    if error_type is not None or answer.status >= 300:
        print(f"lmi invoke: {answer.status} {error_type or ''}".rstrip(), file=sys.stderr)
        return 1
    return 0
