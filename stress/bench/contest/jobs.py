"""Measurements, each in a process of its own that is ended when it hangs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Job", "Outcome", "in_turns", "run_job", "run_turns"]

_REPOSITORY = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Job:
    """
    One contender in one measurement.

    Attributes:
        module: Where the measurements are: it has a ``MEASURES``.
        measure: Which of them.
        contender: Name of the contender.
        options: What it is told, as JSON has it.
        limit_s: Seconds after which it is taken to hang.
    """

    module: str
    measure: str
    contender: str
    options: Mapping[str, float]
    limit_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What came of a job.

    Attributes:
        measure: Which measurement.
        contender: Of whom.
        figures: What was read, by metric.
        series: Readings that are drawn, by what they are readings of.
        trouble: Why there are no figures; empty when there are.
    """

    measure: str
    contender: str
    figures: Mapping[str, float] = field(default_factory=dict)
    series: Mapping[str, Sequence[float]] = field(default_factory=dict)
    trouble: str = ""


def in_turns(
    measures: Sequence[str], contenders: Mapping[str, Sequence[str]], rounds: int
) -> Iterator[tuple[str, str]]:
    """Yield measure and contender in the order they are run: contenders alternate in a round."""
    for measure in measures:
        for _ in range(rounds):
            for contender in contenders[measure]:
                yield measure, contender


def run_turns(
    jobs: Sequence[Job], run: Callable[[Job], Outcome], tell: Callable[[str], None]
) -> list[Outcome]:
    """Run *jobs*; what came to nothing once is not tried again in later rounds."""
    outcomes: list[Outcome] = []
    given_up: set[tuple[str, str]] = set()
    for number, job in enumerate(jobs, 1):
        if (job.measure, job.contender) in given_up:
            continue
        outcome = run(job)
        outcomes.append(outcome)
        if outcome.trouble:
            given_up.add((job.measure, job.contender))
        said = outcome.trouble or ", ".join(f"{k} {v:.4g}" for k, v in outcome.figures.items())
        tell(f"[{number}/{len(jobs)}] {job.measure}, {job.contender}: {said}")
    return outcomes


def run_job(job: Job) -> Outcome:
    """Run *job* in a new process; everything it started ends with it."""
    command = [sys.executable, "-m", "stress.bench.contest.worker"]
    arguments = [job.module, job.measure, job.contender, json.dumps(dict(job.options))]
    process = subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A session of its own: children that a measurement forks may outlive it, and hang.
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
    )
    try:
        printed, complaints = process.communicate(timeout=job.limit_s)
    except subprocess.TimeoutExpired:
        return Outcome(job.measure, job.contender, trouble=f"hung for {job.limit_s:.0f} s")
    finally:
        _end(process)
    return _read(job, printed, complaints, process.returncode)


def _read(job: Job, printed: str, complaints: str, status: int) -> Outcome:
    lines = printed.splitlines()
    if status or not lines:
        said = (complaints.strip().splitlines() or [f"exit status {status}"])[-1]
        return Outcome(job.measure, job.contender, trouble=said[:200])
    told = json.loads(lines[-1])
    return Outcome(job.measure, job.contender, told["figures"], told["series"])


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
