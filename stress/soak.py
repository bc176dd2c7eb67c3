"""
Two hundred thousand invocations that fail, hang up, overrun and stream, each answer checked.

The real runtime serves them in a local environment whose emulator notes every broken rule. Every
event carries a nonce, and the answer must carry it back; tasks, threads, file descriptors and
memory are read after each tenth and may not grow.

    python -m stress.soak [--invocations 200000] [--json FILE]

Linux only: what may not grow is read from /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

from rich.console import Console
from rich.progress import Progress

from stress.soaking.calls import FORMS
from stress.soaking.driver import Soaked, SoakOptions, soak

__all__ = ["main"]

# Tasks are what most functions will be, threads come next.
_SHARES = {"task": 0.5, "thread": 0.25, "stream": 0.15, "thread_stream": 0.1}


def main(argv: Sequence[str] | None = None) -> int:
    """Soak, print a verdict, and return 0 only if nothing was wrong."""
    arguments = _parse(argv)
    if sys.platform != "linux":
        print("not run: what may not grow is read from /proc", file=sys.stderr)
        return 2
    started_s = time.monotonic()
    soaked = asyncio.run(_soak_all(arguments))
    elapsed_s = time.monotonic() - started_s
    for one in soaked:
        print(_verdict(one))
    wrong = sum(one.wrong for one in soaked)
    total = sum(one.total for one in soaked)
    print(
        f"{total} invocations in {elapsed_s:.0f} s, seed {arguments.seed}: "
        + ("every one answered once, with its own answer" if not wrong else f"{wrong} WRONG")
    )
    if arguments.json:
        report = {
            "ok": not wrong,
            "elapsed_s": elapsed_s,
            "seed": arguments.seed,
            "forms": [asdict(one) for one in soaked],
        }
        with open(arguments.json, "w") as file:
            json.dump(report, file, indent=2)
    return 1 if wrong else 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stress.soak", description=__doc__)
    parser.add_argument("--invocations", type=int, default=200_000)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--slots", type=int, default=16, help="N, and the number of callers")
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--rss-tolerance", type=float, default=0.05, help="share, default 0.05")
    parser.add_argument(
        "--uvloop", action=argparse.BooleanOptionalAction, default=True, help="the event loop"
    )
    parser.add_argument(
        "--timeout", type=float, default=2.0, metavar="SECONDS", help="the function's time-out"
    )
    parser.add_argument("--readings", type=int, default=10, help="of what may not grow")
    parser.add_argument("--json", metavar="FILE", help="write the whole report to FILE")
    return parser.parse_args(argv)


async def _soak_all(arguments: argparse.Namespace) -> list[Soaked]:
    whole = sum(_SHARES[form] for form in arguments.forms)
    soaked = []
    with Progress(console=Console(stderr=True)) as bar:
        for form in arguments.forms:
            invocations = round(arguments.invocations * _SHARES[form] / whole)
            options = SoakOptions(
                invocations=invocations,
                slots=arguments.slots,
                workers=arguments.workers,
                seed=arguments.seed,
                rss_tolerance=arguments.rss_tolerance,
                timeout_s=arguments.timeout,
                readings=arguments.readings,
                uvloop=arguments.uvloop,
            )
            line = bar.add_task(form, total=invocations)
            soaked.append(await soak(form, options, partial(bar.advance, line)))
    return soaked


def _verdict(soaked: Soaked) -> str:
    first, last = soaked.readings[0], soaked.readings[-1]
    counts = ", ".join(f"{number} {act}" for act, number in sorted(soaked.answered.items()))
    lines = [
        f"{'FAILED' if soaked.wrong else 'ok'}  {soaked.form}: {soaked.total} calls "
        f"({counts}; {soaked.gone} callers gone; {soaked.refused} attempts refused)",
        f"    first and at the end: RSS {first.rss_bytes / 1e6:.1f} and "
        f"{last.rss_bytes / 1e6:.1f} MB, tasks {first.tasks} and {last.tasks}, "
        f"threads {first.threads} and {last.threads}, fds {first.fds} and {last.fds}",
        *(f"    {complaint}" for complaint in soaked.complaints),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
