"""
`SharedCache` side by side with diskcache: many processes on one cache.

The contenders take turns, so that what else happens on the machine happens to all of them;
figures are medians over the rounds. Values are 1 KiB of bytes, keys are text, 1000 of them.

    python -m stress.bench.shared_cache [--seconds 2] [--rounds 3] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from lmi_runtime.caches.shared import SharedCache

__all__ = ["CONTENDERS", "Contender", "Result", "main", "run"]

VALUE = bytes(range(256)) * 4
KEYS = [f"key:{number}" for number in range(1000)]
LOAD_S = 0.05
WRITES = 0.05


class Contender(Protocol):
    """One cache in one directory, opened before processes are forked."""

    def get(self, key: str) -> object: ...

    def set(self, key: str, value: bytes) -> None: ...

    def load(self, key: str, loader: Callable[[], bytes]) -> object:
        """As its users see to it that one process loads."""
        ...


class _Ours:
    def __init__(self, directory: str, store: Any) -> None:
        self._cache = SharedCache[bytes]("bench", store=store, codec="bytes", directory=directory)
        self.get = self._cache.get
        self.load = self._cache.get_or_load

    def set(self, key: str, value: bytes) -> None:
        self._cache.set(key, value)


class _Diskcache:
    """With its own lock, which expires: it cannot be freed when its holder dies."""

    def __init__(self, directory: str) -> None:
        import diskcache

        self._cache = diskcache.Cache(directory)
        self._lock = diskcache.Lock
        self.get = self._cache.get

    def set(self, key: str, value: bytes) -> None:
        self._cache.set(key, value)

    def load(self, key: str, loader: Callable[[], bytes]) -> object:
        value = self._cache.get(key)
        if value is not None:
            return value
        with self._lock(self._cache, f"lock:{key}", expire=3):
            value = self._cache.get(key)
            if value is None:
                value = loader()
                self._cache.set(key, value)
        return value


CONTENDERS: dict[str, Callable[[str], Contender]] = {
    "lmdb": lambda directory: _Ours(directory, "lmdb"),
    "sqlite": lambda directory: _Ours(directory, "sqlite"),
    "diskcache": _Diskcache,
}


@dataclass
class Result:
    """
    What was measured of one contender; the medians over the rounds.

    Attributes:
        gets_per_s: In all processes together, of keys that are there.
        gets_per_cpu_s: The same for each second of processor time, which others on the machine
            hardly touch.
        mixed_per_s: As `gets_per_s` where one in twenty writes.
        write_p99_ms: How long one write in a hundred takes at least, in that mix.
        loads: Loads of one missing key, however many processes ask for it; the most of a round.
        load_ms: Until all of them have it; loading takes 50 ms.
        recovery_ms: From the death of the process that loads to the begin of the next load.
    """

    name: str
    gets_per_s: float = 0.0
    gets_per_cpu_s: float = 0.0
    mixed_per_s: float = 0.0
    write_p99_ms: float = 0.0
    loads: int = 0
    load_ms: float = 0.0
    recovery_ms: float = 0.0
    rounds: list[dict[str, float]] = field(default_factory=list)


_MEDIANS = (
    "gets_per_s",
    "gets_per_cpu_s",
    "mixed_per_s",
    "write_p99_ms",
    "load_ms",
    "recovery_ms",
)


def run(
    names: Sequence[str], *, processes: int = 16, seconds: float = 2.0, rounds: int = 3
) -> list[Result]:
    """Measure each of `names`, in turns."""
    results = {name: Result(name) for name in names}
    for _ in range(rounds):
        for name in names:
            results[name].rounds.append(_round(CONTENDERS[name], processes, seconds))
    for result in results.values():
        for figure in _MEDIANS:
            setattr(result, figure, statistics.median(one[figure] for one in result.rounds))
        result.loads = int(max(one["loads"] for one in result.rounds))
    return list(results.values())


def _round(make: Callable[[str], Contender], processes: int, seconds: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="lmi-bench-") as directory:
        contender = make(directory)
        for key in KEYS:
            contender.set(key, VALUE)
        gets, gets_cpu, _ = _throughput(contender, processes, seconds, writes=0.0)
        mixed, _, latencies = _throughput(contender, processes, seconds, writes=WRITES)
        loads, load_s = _stampede(contender, processes)
        return {
            "gets_per_s": gets,
            "gets_per_cpu_s": gets_cpu,
            "mixed_per_s": mixed,
            "write_p99_ms": latencies[len(latencies) * 99 // 100] * 1e3 if latencies else 0.0,
            "loads": loads,
            "load_ms": load_s * 1e3,
            "recovery_ms": _recovery(contender) * 1e3,
        }


def _throughput(
    contender: Contender, processes: int, seconds: float, writes: float
) -> tuple[float, float, list[float]]:
    begin_s = time.monotonic() + 0.5

    def body() -> tuple[int, float, float, list[float]]:
        chance = random.Random(os.getpid()).random
        contender.get(KEYS[0])
        latencies: list[float] = []
        done = 0
        _wait_until(begin_s)
        started_s = now_s = time.monotonic()
        cpu_s = time.process_time()
        while now_s < started_s + seconds:
            for _ in range(50):
                key = KEYS[int(chance() * len(KEYS))]
                if writes and chance() < writes:
                    before_s = time.monotonic()
                    contender.set(key, VALUE)
                    latencies.append(time.monotonic() - before_s)
                else:
                    assert contender.get(key) is not None
            done += 50
            now_s = time.monotonic()
        return done, now_s - started_s, time.process_time() - cpu_s, latencies

    said = _crew([body] * processes)
    latencies = sorted(latency for *_, some in said for latency in some)
    per_cpu_s = sum(done for done, *_ in said) / sum(cpu_s for _, _, cpu_s, _ in said)
    return sum(done / took_s for done, took_s, *_ in said), per_cpu_s, latencies


def _stampede(contender: Contender, processes: int) -> tuple[int, float]:
    begin_s = time.monotonic() + 0.3
    reading, writing = os.pipe()

    def loader() -> bytes:
        os.write(writing, b"L")
        time.sleep(LOAD_S)
        return VALUE

    def body() -> float:
        contender.get(KEYS[0])
        _wait_until(begin_s)
        assert contender.load("missing", loader) == VALUE
        return time.monotonic()

    ends_s = _crew([body] * processes)
    os.close(writing)
    with open(reading, "rb") as pipe:
        return len(pipe.read()), max(ends_s) - begin_s


def _recovery(contender: Contender) -> float:
    reading, writing = os.pipe()

    def lead() -> None:
        def loader() -> bytes:
            os.write(writing, b"x")
            time.sleep(60)
            return VALUE

        contender.load("leaderless", loader)

    def follow() -> float:
        loaded_s: list[float] = []

        def loader() -> bytes:
            loaded_s.append(time.monotonic())
            return VALUE

        contender.load("leaderless", loader)
        return loaded_s[0] if loaded_s else float("inf")

    with _forked([lead]) as (leader,):
        os.read(reading, 1)
        with _forked([follow, follow]) as followers:
            time.sleep(0.5)  # they wait by now, and look more seldom the longer they do
            killed_s = time.monotonic()
            os.kill(leader.pid, signal.SIGKILL)
            first_s = min(child.answer() for child in followers)
    os.close(reading)
    os.close(writing)
    return float(first_s - killed_s)


def _wait_until(moment_s: float) -> None:
    time.sleep(max(0.0, moment_s - time.monotonic()))


@dataclass
class _Child:
    pid: int
    pipe: int

    def answer(self) -> Any:
        with open(self.pipe, "rb", closefd=False) as pipe:
            said = pipe.read()
        if not said:
            raise RuntimeError("a process ended without an answer")
        return json.loads(said)


def _crew(bodies: Sequence[Callable[[], Any]]) -> list[Any]:
    with _forked(bodies) as children:
        return [child.answer() for child in children]


@contextmanager
def _forked(bodies: Sequence[Callable[[], Any]]) -> Iterator[list[_Child]]:
    """Run each in a process of its own; none of them outlives the block."""
    children: list[_Child] = []
    try:
        for body in bodies:
            children.append(_fork(body))  # noqa: PERF401  (what was forked has to be known)
        yield children
    finally:
        for child in children:
            os.close(child.pipe)
            os.kill(child.pid, signal.SIGKILL)  # not reaped yet, so it is still this one
            os.waitpid(child.pid, 0)


def _fork(body: Callable[[], Any]) -> _Child:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return _Child(pid, reading)
    code = 1
    try:
        os.close(reading)
        with open(writing, "wb") as pipe:
            pipe.write(json.dumps(body()).encode())
        code = 0
    finally:
        os._exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m stress.bench.shared_cache",
        description="SharedCache side by side with diskcache.",
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender")
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--json", action="store_true", help="print everything that was measured")
    arguments = parser.parse_args(argv)
    results = run(
        arguments.contenders,
        processes=arguments.processes,
        seconds=arguments.seconds,
        rounds=arguments.rounds,
    )
    if arguments.json:
        machine = {"python": sys.version.split()[0], "processors": os.cpu_count()}
        machine["load"] = os.getloadavg()[0]
        json.dump({"machine": machine, "results": [asdict(one) for one in results]}, sys.stdout)
        print()
    else:
        print(_render(results, arguments.processes))
    return 0


def _render(results: Sequence[Result], processes: int) -> str:
    lines = [
        f"{processes} processes, values of 1 KiB",
        f"{'':10}{'gets/s':>10}{'/CPU s':>10}{'95/5 /s':>10}{'write p99':>11}{'loads':>7}"
        f"{'all have it':>13}{'leader killed':>15}",
    ]
    lines += [
        f"{one.name:10}{one.gets_per_s:10,.0f}{one.gets_per_cpu_s:10,.0f}"
        f"{one.mixed_per_s:10,.0f}{one.write_p99_ms:8.1f} ms{one.loads:7}"
        f"{one.load_ms:10.0f} ms{one.recovery_ms:12.0f} ms"
        for one in results
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
