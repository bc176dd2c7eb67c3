"""
What the package costs before it does anything: the time to import it, and the size of its wheel.

    python -m stress.bench.footprint [--rounds N] [--json FILE] [--check]

Every process of an environment pays the import. Processes that import and processes that do not
take turns; the figure is the difference of their medians, in time of the processor: by the clock
it is mostly the machine's other work.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from stress.bench.contest.machine import describe
from stress.bench.contest.tables import render_targets
from stress.bench.contest.tally import at_most

__all__ = [
    "Cost",
    "Module",
    "Python",
    "main",
    "pack",
    "parse_import_times",
    "rooms_of",
    "slowest",
    "time_codes",
]

_REPOSITORY = Path(__file__).resolve().parents[2]
_IMPORT = (
    "from lmi_runtime import Cache, ConnectionBudget, Pool, SharedCache, cached, handler, resource"
)
"""By name: what is not asked for is not imported."""
_IMPORT_MS = 60.0
_WHEEL_KB = 300.0
_BUILD_S = 180.0


@dataclass(frozen=True, slots=True)
class Module:
    """One line of ``-X importtime``: its own time and that with what it imports, in ms."""

    name: str
    own_ms: float
    total_ms: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when ``--check`` finds a target missed."""
    parser = argparse.ArgumentParser(
        prog="python -m stress.bench.footprint", description="Import time and wheel size."
    )
    parser.add_argument("--rounds", type=int, default=15, help="processes of each kind")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    arguments = parser.parse_args(argv)
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        python = Python(Path(folder))
        bare, importing = time_codes(python, arguments.rounds, "pass", _IMPORT)
        modules = parse_import_times(python.run("-X", "importtime", "-c", _IMPORT))
    import_ms = importing.cpu_ms - bare.cpu_ms
    rooms, wheel_bytes, how = weigh()
    targets = [
        at_most("import of lmi_runtime with pools and caches, ms of CPU", import_ms, _IMPORT_MS),
        at_most(f"wheel, kB ({how})", wheel_bytes / 1000, _WHEEL_KB),
    ]
    print(f"python alone: {bare.wall_ms:.1f} ms, {bare.cpu_ms:.1f} ms CPU")
    print(f"with the import: {importing.wall_ms:.1f} ms, {importing.cpu_ms:.1f} ms CPU\n")
    for module in slowest(modules, 12):
        print(f"{module.own_ms:7.1f} ms of its own, {module.total_ms:7.1f} in all  {module.name}")
    print()
    for room, size_bytes in sorted(rooms.items(), key=lambda item: -item[1]):
        print(f"{size_bytes / 1000:7.1f} kB packed  {room}")
    print(f"\n{render_targets(targets)}")
    if arguments.json:
        report = {
            "machine": describe(["lmi_runtime"], load_before),
            "bare": asdict(bare),
            "importing": asdict(importing),
            "wheel_bytes": wheel_bytes,
            "wheel_by": how,
            "rooms_bytes": rooms,
            "targets": [asdict(target) for target in targets],
            "modules": [asdict(module) for module in modules],
        }
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if arguments.check and not all(target.reached for target in targets) else 0


class Python:
    """
    Starts this interpreter, with byte code of its own: what others leave does not matter.

    Args:
        folder: Where byte code is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._environment = {**os.environ, "PYTHONPATH": str(_REPOSITORY)}
        self._environment["PYTHONPYCACHEPREFIX"] = str(folder)
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def run(self, *arguments: str) -> str:
        """
        Run it to its end; returns what it wrote on standard error.

        Raises:
            RuntimeError: It failed.
        """
        command = [sys.executable, *arguments]
        ran = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=False
        )
        if ran.returncode:
            raise RuntimeError(f"python {' '.join(arguments)} failed:\n{ran.stderr}")
        return ran.stderr


@dataclass(frozen=True, slots=True)
class Cost:
    """
    Of a process, from its start to its end: medians over the rounds.

    Attributes:
        wall_ms: By the clock; on a busy machine it is mostly waiting.
        cpu_ms: User and system.
    """

    wall_ms: float
    cpu_ms: float


def time_codes(python: Python, rounds: int, *codes: str) -> list[Cost]:
    """What processes cost that run each of these, taking turns."""
    costs: dict[str, list[Cost]] = {code: [] for code in codes}
    # Once each without counting: byte code is written, files come into memory.
    for number in range(rounds + 1):
        for code in codes:
            cost = _cost(python, code)
            if number:
                costs[code].append(cost)
    return [_median(costs[code]) for code in codes]


def _cost(python: Python, code: str) -> Cost:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started_s = time.perf_counter()
    python.run("-c", code)
    wall_s = time.perf_counter() - started_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Cost(wall_s * 1000, cpu_s * 1000)


def _median(costs: Sequence[Cost]) -> Cost:
    wall_ms = statistics.median(cost.wall_ms for cost in costs)
    return Cost(wall_ms, statistics.median(cost.cpu_ms for cost in costs))


def parse_import_times(text: str) -> list[Module]:
    """Read what ``-X importtime`` prints."""
    modules = []
    for line in text.splitlines():
        own, bar, rest = line.removeprefix("import time:").partition("|")
        total, _, name = rest.partition("|")
        if bar and own.strip().isdigit():
            modules.append(Module(name.strip(), int(own) / 1000, int(total) / 1000))
    return modules


def slowest(modules: Sequence[Module], count: int) -> list[Module]:
    """Those that took longest by themselves."""
    return sorted(modules, key=lambda module: -module.own_ms)[:count]


def weigh() -> tuple[dict[str, int], int, str]:
    """Bytes of the wheel by room and in all, and how they were come by."""
    with tempfile.TemporaryDirectory() as folder:
        if importlib.util.find_spec("build") and _build(folder):
            (wheel,) = Path(folder).glob("*.whl")
            return rooms_of(wheel), wheel.stat().st_size, "built"
        packed = pack(_REPOSITORY / "lmi_runtime", Path(folder, "package.zip"))
        return rooms_of(packed), packed.stat().st_size, "packed, not built"


def rooms_of(wheel: Path) -> dict[str, int]:
    """Packed bytes by directory of the package, or file at its top."""
    rooms: dict[str, int] = {}
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            room = "/".join(entry.filename.split("/")[:2])
            rooms[room] = rooms.get(room, 0) + entry.compress_size
    return rooms


def _build(folder: str) -> bool:
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", folder]
    if importlib.util.find_spec("hatchling"):
        command.append("--no-isolation")
    try:
        built = subprocess.run(
            [*command, str(_REPOSITORY)], capture_output=True, timeout=_BUILD_S, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return built.returncode == 0


def pack(package: Path, archive: Path) -> Path:
    """Zip *package* as a wheel is; returns *archive*."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(package.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                packed.write(path, path.relative_to(package.parent))
    return archive


if __name__ == "__main__":
    sys.exit(main())
