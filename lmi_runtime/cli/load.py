"""``lmi load``: a closed loop of callers, and what came of it."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from lmi_runtime.cli.arguments import positive, seconds
from lmi_runtime.cli.errors import CliError
from lmi_runtime.cli.invoke import read_event

if TYPE_CHECKING:
    from lmi_runtime.cli.memory import Footprint
    from lmi_runtime.emulator import LoadProgress, LogLine

__all__ = ["add_to"]

# Not parsed: under load that would cost more than the function does.
_IS_ERROR = re.compile(r'"level": ?"(?:ERROR|CRITICAL)"')


def add_to(commands: Any) -> None:
    """Add the command."""
    from lmi_runtime.cli.environment import add_environment_arguments

    parser = commands.add_parser(
        "load",
        help="put load on a handler and report",
        description="Run a handler in a local environment and call it in a closed loop, each "
        "caller calling again as soon as it is answered.",
    )
    parser.add_argument("handler", help="module.function, such as app.handler")
    add_environment_arguments(parser, concurrency=32)
    parser.add_argument(
        "--callers", type=positive, metavar="N", help="callers at once (default: --concurrency)"
    )
    parser.add_argument("--seconds", type=seconds, default=10.0, help="(default: %(default)g)")
    parser.add_argument("--event", default="{}", help="JSON, or @FILE (default: {})")
    parser.add_argument("--logs", action="store_true", help="show the function's log lines")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(execute=_execute)


def _execute(arguments: argparse.Namespace) -> int:
    try:
        import psutil  # noqa: F401
        import rich  # noqa: F401
    except ImportError as error:
        raise CliError(f"`lmi load` needs {error.name}: pip install 'lmi_runtime[cli]'") from error
    return asyncio.run(_load(arguments))


async def _load(arguments: argparse.Namespace) -> int:
    from lmi_runtime.cli.environment import local_environment
    from lmi_runtime.cli.memory import measure
    from lmi_runtime.cli.report import progress_bar, show
    from lmi_runtime.emulator import LoadOptions, run_load

    options = LoadOptions(
        concurrency=arguments.callers or arguments.concurrency,
        duration_s=arguments.seconds,
        event=read_event(arguments.event),
        # Every connection made and every slot used once, before anything is measured.
        warmup_requests=4 * arguments.concurrency,
    )
    log = _Log(echo=arguments.logs)
    async with local_environment(arguments, port=0, on_line=log) as environment:
        ready = asyncio.ensure_future(environment.emulator.wait_ready())
        exited = asyncio.ensure_future(environment.wait_exited())
        await asyncio.wait({ready, exited}, return_when=asyncio.FIRST_COMPLETED)
        if exited.done():
            ready.cancel()
            log.replay()
            raise CliError(f"The runtime ended with exit code {exited.result()}; see above.")
        exited.cancel()
        footprint: list[Footprint] = []

        def measured(progress: LoadProgress) -> None:
            # Taken under load, and once only: it costs the system more than a request does.
            if progress.share > 0.5 and not footprint:
                footprint.append(measure(environment.pid))

        with progress_bar(arguments.seconds) as advance:
            report = await run_load(environment.emulator.url, options, _both(advance, measured))
        footprint = footprint or [measure(environment.pid)]
        ended = environment.returncode
    if arguments.json:
        # Not asdict, which cannot copy the read-only mapping of failures.
        facts = {field.name: getattr(report, field.name) for field in fields(report)}
        facts |= {"failures": dict(report.failures), "runtime": asdict(footprint[0])}
        print(json.dumps(facts, indent=2))
    else:
        show(arguments, report, footprint[0], log.errors)
    if ended is not None:
        print(f"lmi load: the runtime ended under load with exit code {ended}", file=sys.stderr)
    return 0 if report.ok and not report.failed else 1


def _both(
    first: Callable[[LoadProgress], None], second: Callable[[LoadProgress], None]
) -> Callable[[LoadProgress], None]:
    def call(progress: LoadProgress) -> None:
        first(progress)
        second(progress)

    return call


class _Log:
    """Counts the function's error lines; keeps the last lines for when it does not start."""

    def __init__(self, *, echo: bool) -> None:
        self.errors = 0
        self._echo = echo
        self._last: list[str] = []

    def __call__(self, line: LogLine) -> None:
        self.errors += _IS_ERROR.search(line.text) is not None
        if self._echo:
            print(line.text, file=sys.stderr)
        self._last = [*self._last[-19:], line.text]

    def replay(self) -> None:
        if not self._echo:
            print(*self._last, sep="\n", file=sys.stderr)
