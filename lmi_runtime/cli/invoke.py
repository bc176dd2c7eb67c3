"""``lmi invoke``: one call."""

from __future__ import annotations

import argparse
import http.client
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from lmi_runtime.cli.arguments import seconds
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
    parser.add_argument("--timeout", type=seconds, default=900.0, metavar="SECONDS")
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


def _address(endpoint: str) -> tuple[str, int]:
    """Host and port of an endpoint on this machine, with or without ``http://``."""
    try:
        where = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
        host, port = where.hostname or "", where.port or 80
    except ValueError as error:
        raise CliError(f"--endpoint {endpoint!r} is not a URL: {error}") from error
    if host not in _LOOPBACK:
        raise CliError(f"{endpoint} is not on this machine; use the AWS CLI for Lambda.")
    return host, port


def _execute(arguments: argparse.Namespace) -> int:
    host, port = _address(arguments.endpoint)
    event = read_event(arguments.event)
    connection = http.client.HTTPConnection(host, port, timeout=arguments.timeout)
    path = f"/2015-03-31/functions/{quote(arguments.function, safe='')}/invocations"
    try:
        connection.request("POST", path, event, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = answer.read()
    except TimeoutError as error:
        raise CliError(f"No answer within {arguments.timeout:g} seconds.") from error
    except (OSError, http.client.HTTPException) as error:
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
