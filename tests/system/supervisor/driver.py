"""Starts `program.py` and reads what it says, never waiting without an end."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.patience import PATIENCE_S

ROOT = Path(__file__).parents[3]


class Program:
    """One supervising process under test."""

    def __init__(self, *prefix: str, **options: Any) -> None:
        self.said: list[dict[str, Any]] = []
        self.text: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "tests.system.supervisor.program", json.dumps(options)],
            cwd=ROOT,
            # Buffered, as in production: what a fork may duplicate is part of the test.
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
            stdout=subprocess.PIPE,
            text=True,
            # Its own group, as the platform gives the runtime one.
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read on until a line meets `condition`, and return it."""
        while (line := self._next()) is not None:
            if condition(line):
                return line
        raise AssertionError(f"It never said that. It said: {self.said}")

    def until_did(self, what: str, **facts: Any) -> dict[str, Any]:
        """Read on until it did `what`."""
        return self.until(lambda line: {"did": what, **facts}.items() <= line.items())

    def finish(self) -> int:
        """Read to the end, that is until nobody holds its stdout any more; the exit code."""
        while self._next() is not None:
            pass
        return self._process.wait(PATIENCE_S)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def signal_group(self, number: int) -> None:
        os.killpg(self.pid, number)

    def did(self, what: str) -> list[dict[str, Any]]:
        """All it has said so far about `what`."""
        return [line for line in self.said if line["did"] == what]

    def _next(self) -> dict[str, Any] | None:
        while (line := self._lines.get(timeout=PATIENCE_S)) is not None:
            if line.startswith("{"):
                self.said.append(json.loads(line))
                return self.said[-1]
            self.text.append(line)
        self._lines.put(None)
        return None

    def close(self) -> None:
        """Leave no process behind, whatever the test did."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()


def alive(pid: int) -> bool:
    """Whether `pid` is a process that has not ended (a zombie has)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return not stat.parent.parent.joinpath("self").exists() or _state(stat) != "Z"
    except OSError:
        return False


def _state(stat: Path) -> str:
    return stat.read_text().rpartition(")")[2].split()[0]


def wait_until(condition: Callable[[], bool], *, timeout_s: float = PATIENCE_S) -> None:
    """Return as soon as `condition` holds; fail when it never does."""
    give_up_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_s, "The condition never came to hold."
        time.sleep(0.005)


SIGKILL, SIGTERM, SIGINT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
