"""
Side by side with AWS's own client, awslambdaric, under AWS's own emulator.

The runtimes take turns, so that what else happens on the machine happens to all of them; figures
are medians over the rounds, ratios are taken round by round. The emulator and the callers share
the processors with the runtimes: requests/s and latencies contain them, CPU a request does not.

    python -m stress.bench.against_awslambdaric [--quick] [--json FILE]

Needs Linux and root, as AWS's emulator does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from stress.bench.contenders import BASELINE, CONTENDERS, FUNCTIONS
from stress.bench.report import Target, judge, render, summarize
from stress.bench.trial import Trial, TrialOptions, compile_runtime, run_trial
from tests.support.rie import rie_available

__all__ = ["main"]

_EXTRAS = ("hybrid", "process")
_EXTRAS_SLOTS = 32
# The mode that `judge` is about: what a user with the `uvloop` extra gets without asking.
_OURS = "uvloop"


@dataclass(frozen=True, slots=True)
class _Turn:
    function: str
    slots: int
    contender: str


def plan_turns(
    functions: Sequence[str], slots: Sequence[int], contenders: Sequence[str], rounds: int
) -> Iterator[_Turn]:
    """Yield the trials in the order they are made: within a round, the runtimes alternate."""
    for function in functions:
        for count in slots:
            for number in range(rounds):
                for name in contenders:
                    # The rare modes are here for their size; one number of slots tells it.
                    if name in _EXTRAS and (count != _EXTRAS_SLOTS or number):
                        continue
                    yield _Turn(function, count, name)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit code whether it could be measured."""
    arguments = _parse(argv)
    if reason := rie_available():
        print(f"not run: {reason}", file=sys.stderr)
        return 2
    compile_runtime(arguments.python)
    load_s = arguments.seconds
    options = TrialOptions(
        python=arguments.python, load_s=load_s, warmup_s=load_s / 5, busy_s=load_s / 2
    )
    turns = list(
        plan_turns(arguments.functions, arguments.slots, arguments.contenders, arguments.rounds)
    )
    load_before = os.getloadavg()[0]
    trials = _run(turns, options)
    summaries = summarize(trials)
    targets = judge(summaries, _OURS)
    print(render(summaries))
    print(_render_targets(targets))
    if arguments.json:
        report = {
            "machine": _machine(arguments.python, load_before),
            "options": {"rounds": arguments.rounds, **asdict(options)},
            "summaries": [asdict(summary) for summary in summaries],
            "targets": [asdict(target) for target in targets],
            "trials": [asdict(trial) for trial in trials],
        }
        with open(arguments.json, "w") as file:
            json.dump(report, file, indent=2)
    return 0 if all(target.reached for target in targets) or not arguments.check else 1


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m stress.bench.against_awslambdaric",
        description="Side by side with awslambdaric under AWS's own emulator.",
    )
    parser.add_argument("--quick", action="store_true", help="one round of the telling cases")
    parser.add_argument("--functions", nargs="+", choices=FUNCTIONS, default=list(FUNCTIONS))
    parser.add_argument("--slots", nargs="+", type=int, help="N (default: 16 32 64)")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS)
    parser.add_argument("--rounds", type=int, help="turns of each runtime (default: 3)")
    parser.add_argument("--seconds", type=float, help="load that is measured (default: 3)")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the runtimes")
    parser.add_argument("--json", metavar="FILE", help="write everything measured to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    arguments = parser.parse_args(argv)
    quick = arguments.quick
    arguments.slots = arguments.slots or ([16, 32] if quick else [16, 32, 64])
    arguments.rounds = arguments.rounds or (1 if quick else 3)
    arguments.seconds = arguments.seconds or (2.0 if quick else 3.0)
    if arguments.contenders is None:
        extras = () if quick else _EXTRAS
        arguments.contenders = [BASELINE.name, "uvloop", "asyncio", *extras]
    return arguments


def _run(turns: Sequence[_Turn], options: TrialOptions) -> list[Trial]:
    short = TrialOptions(python=options.python, load_s=0.1, warmup_s=0.1, busy_s=0.1)
    # Once each without counting: the first to read a library from disk would pay for all.
    for function, name in dict.fromkeys((turn.function, turn.contender) for turn in turns):
        run_trial(CONTENDERS[name], function, 1, short)
    trials = []
    for number, turn in enumerate(turns, 1):
        started_s = time.monotonic()
        trial = run_trial(CONTENDERS[turn.contender], turn.function, turn.slots, options)
        trials.append(trial)
        _tell(f"[{number}/{len(turns)}] {_line(trial)}, {time.monotonic() - started_s:.0f} s")
    return trials


def _line(trial: Trial) -> str:
    return (
        f"{trial.function} N={trial.slots} {trial.contender}: {trial.pss_mb:.0f} MB, "
        f"polling after {trial.polling_s:.2f} s, {trial.requests_per_s:.0f}/s, "
        f"{trial.cpu_ms:.3f} ms CPU, {trial.refused_share:.2%} refused, "
        f"{trial.busy_refused_share:.2%} with 50 ms calls"
    )


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _render_targets(targets: Sequence[Target]) -> str:
    rows = (
        f"{'reached' if one.reached else 'MISSED '}  {one.claim}: {one.measured:.3f}"
        for one in targets
    )
    return "\n".join(["", f"{_OURS} against {BASELINE.name}:", *rows])


def _machine(python: str, load_before: float) -> dict[str, object]:
    ask = (
        "import json, sys; from importlib.metadata import version as v; print(json.dumps("
        "{'python': sys.version.split()[0], 'awslambdaric': v('awslambdaric')}))"
    )
    told = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True)
    return {
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        # The harness itself adds one or two; more than three before it means a busy machine.
        "load_average_before": load_before,
        "load_average_after": os.getloadavg()[0],
        **json.loads(told.stdout),
    }


if __name__ == "__main__":
    sys.exit(main())
