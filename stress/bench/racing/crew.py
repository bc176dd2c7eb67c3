"""The processes in which checkers run: started when needed, ended when they hang."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from stress.bench.racing.facts import Facts
from stress.bench.racing.outcome import Budget, Outcome

__all__ = ["Crew"]

_REPOSITORY = Path(__file__).resolve().parents[3]
_START_S = 60.0


class Crew:
    """
    One checker, in a process of its own.

    Args:
        contender: Its name.
        command: Starts a Python that has it.
        log: Where what programs print goes.
        grace_s: Beyond twice its budget, what a checker gets before it is taken to hang.

    Thread safety: one thread, but for the one that reads the answers.
    """

    def __init__(
        self,
        contender: str,
        command: Sequence[str],
        *,
        log: int = subprocess.DEVNULL,
        grace_s: float = 30.0,
    ) -> None:
        self._contender = contender
        self._command = command
        self._log = log
        self._grace_s = grace_s
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()

    def check(self, facts: Facts, budget: Budget) -> Outcome:
        """
        Have one program checked.

        A checker gets twice the time it was told to take, and some for its replays; one that
        takes longer hangs, and its process is ended.
        """
        patience_s = 2 * budget.seconds + self._grace_s
        request = {
            "path": str(facts.path),
            "kind": facts.kind,
            "schedules": budget.schedules,
            "seconds": budget.seconds,
        }
        try:
            process = self._started()
            assert process.stdin is not None
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            answer = self._answers.get(timeout=patience_s)
        except queue.Empty:
            self.close()
            return Outcome("error", seconds=patience_s, detail="hung, and was ended")
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.close()
            return Outcome("error", detail="its process died")
        return Outcome.of(json.loads(answer))

    def close(self) -> None:
        """End the process, whatever it does."""
        process, self._process = self._process, None
        if process is None:
            return
        # The group: a launcher may stand between us and the checker.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdin is not None
        try:
            process.stdin.close()
        except BrokenPipeError:
            return

    def _started(self) -> subprocess.Popen[str]:
        if self._process is not None:
            return self._process
        self._answers = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [*self._command, "-m", "stress.bench.racing.worker", self._contender],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(_REPOSITORY), "PYTHONHASHSEED": "0"},
        )
        # Read in a thread, so that an answer can be waited for with a limit.
        reader = threading.Thread(
            target=_read, args=(self._process, self._answers), daemon=True, name="answers"
        )
        reader.start()
        if self._answers.get(timeout=_START_S).strip() != "ready":
            raise BrokenPipeError
        return self._process


def _read(process: subprocess.Popen[str], answers: queue.SimpleQueue[str]) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            answers.put(line)
    answers.put("")
