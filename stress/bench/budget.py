"""
The connection budget of an environment: how fast, how fair, how soon after a kill.

    python -m stress.bench.budget [--seconds S] [--kills N] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lmi_runtime.pools.budget import ConnectionBudget

__all__ = ["fairness", "jain", "main", "never_over", "rate", "returns_after_kill"]

HOLD_S = 0.01


def jain(shares: Sequence[float]) -> float:
    """Jain's index: 1 when all have the same, 1/n when one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


def percentile(values: Sequence[float], part: float) -> float:
    """The value that `part` of all values are not above."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * part))]


def rate(folder: Path, seconds: float) -> float:
    """Permits taken and given back per second, by one process and nobody else."""
    budget = _budget(folder, 16)
    count, end_s = 0, time.monotonic() + seconds
    started_s = time.monotonic()
    while time.monotonic() < end_s:
        for _ in range(100):
            permit = budget.try_acquire()
            assert permit is not None
            permit.release()
        count += 100
    return count / (time.monotonic() - started_s)


def fairness(
    folder: Path, seconds: float, *, processes: int = 16, permits: int = 4
) -> dict[str, float]:
    """Processes that each take a permit, hold it for 10 ms, and want the next at once."""
    budget = _budget(folder, permits)

    def body() -> list[float]:
        waits, end_s = [], time.monotonic() + seconds
        while (asked_s := time.monotonic()) < end_s:
            permit = budget.acquire(lambda: False)
            assert permit is not None
            waits.append(time.monotonic() - asked_s)
            time.sleep(HOLD_S)
            permit.release()
        return waits

    answers, cpu_s = _in_processes(processes, body)
    waits = [wait for answer in answers for wait in answer]
    ideal = permits * seconds / HOLD_S
    return {
        "jain": jain([len(answer) for answer in answers]),
        "part_of_ideal": len(waits) / ideal,
        "p50_ms": percentile(waits, 0.5) * 1000,
        "p99_ms": percentile(waits, 0.99) * 1000,
        "max_ms": max(waits) * 1000,
        "ideal_ms": (processes / permits - 1) * HOLD_S * 1000,
        "cpu_share": cpu_s / seconds,
    }


def never_over(
    folder: Path, seconds: float, *, processes: int = 32, permits: int = 5
) -> dict[str, float]:
    """The most that were out at once, from when each says it had one: a clock is the witness."""
    budget = _budget(folder, permits)

    def body() -> list[float]:
        times, end_s = [], time.monotonic() + seconds
        while time.monotonic() < end_s:
            permit = budget.acquire(lambda: False)
            assert permit is not None
            times.append(time.monotonic())
            time.sleep(0.001)
            times.append(-time.monotonic())
            permit.release()
        return times

    answers, _ = _in_processes(processes, body)
    return {
        "permits": permits,
        "most_at_once": _most_at_once(answers),
        "uses": sum(len(answer) for answer in answers) / 2,
    }


def returns_after_kill(folder: Path, kills: int) -> dict[str, float]:
    """From SIGKILL to the moment that somebody who waits has the permit."""
    budget = _budget(folder, 1)
    took_s = [_kill_one(budget) for _ in range(kills)]
    return {"median_ms": statistics.median(took_s) * 1000, "max_ms": max(took_s) * 1000}


def _kill_one(budget: ConnectionBudget) -> float:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        permit = budget.acquire(lambda: False)
        os.write(write, b"x" if permit else b"?")
        signal.pause()
        os._exit(0)
    os.read(read, 1)
    killed_s: list[float] = []
    end_s = time.monotonic() + 0.05

    def give_up() -> bool:
        # Only after it has waited for a while, as whoever waits for a permit has.
        if not killed_s and time.monotonic() > end_s:
            killed_s.append(time.monotonic())
            os.kill(pid, signal.SIGKILL)
        return False

    permit = budget.acquire(give_up)
    took_s = time.monotonic() - killed_s[0]
    assert permit is not None
    permit.release()
    os.waitpid(pid, 0)
    os.close(read)
    os.close(write)
    return took_s


def _most_at_once(answers: list[list[float]]) -> int:
    # At the same moment the one who gives back comes first: its time was taken before.
    moments = sorted((abs(at), at > 0) for answer in answers for at in answer)
    now = most = 0
    for _, begins in moments:
        now += 1 if begins else -1
        most = max(most, now)
    return most


def _in_processes(count: int, body: Callable[[], list[float]]) -> tuple[list[list[float]], float]:
    """What `body` returned in each of `count` forked processes, and the CPU time they took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    pipes = [_fork(body) for _ in range(count)]
    answers = [json.loads(_read_all(read)) for read, _ in pipes]
    for _, pid in pipes:
        os.waitpid(pid, 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return answers, spent_s


def _fork(body: Callable[[], list[float]]) -> tuple[int, int]:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        with os.fdopen(write, "w") as pipe:
            json.dump(body(), pipe)
        os._exit(0)
    os.close(write)
    return read, pid


def _read_all(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as pipe:
        return pipe.read()


def _budget(folder: Path, permits: int) -> ConnectionBudget:
    name = f"budget-{time.monotonic_ns()}"
    return ConnectionBudget(max_connections=permits, environments=1, name=name, directory=folder)


def measure(seconds: float, kills: int) -> dict[str, object]:
    """Everything, one after the other."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return {
            "python": sys.version.split()[0],
            "take_and_give_per_s": rate(folder, seconds),
            "16_processes_4_permits": fairness(folder, seconds),
            "32_processes_5_permits": never_over(folder, seconds),
            "after_sigkill": returns_after_kill(folder, kills),
        }


def main(argv: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="stress.bench.budget", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each part (default: 2)")
    parser.add_argument("--kills", type=int, default=50, help="default: 50")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    found = measure(arguments.seconds, arguments.kills)
    print(json.dumps(found) if arguments.json else "\n".join(_lines(found)))
    return 0


def _lines(found: dict[str, object]) -> list[str]:
    lines = []
    for name, value in found.items():
        if isinstance(value, dict):
            figures = "  ".join(f"{key} {figure:,.3f}" for key, figure in value.items())
            lines.append(f"{name:>24}  {figures}")
        else:
            shown = f"{value:,.0f}" if isinstance(value, float) else value
            lines.append(f"{name:>24}  {shown}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
