"""
A process that checks one program after another, so that one that hangs costs a process.

    python -m stress.bench.racing.worker CONTENDER

A request is a line of JSON on standard input, its answer a line on what was standard output;
what programs print goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path

from stress.bench.racing.outcome import Budget, Outcome, Subject

__all__ = ["CONTENDERS", "main"]

CONTENDERS = {
    "lmi": "stress.bench.racing.ours",
    "frontrun": "stress.bench.racing.peer_frontrun",
    "detangle": "stress.bench.racing.peer_detangle",
    "naive": "stress.bench.racing.naive",
}


def main(contender: str) -> None:
    """Answer requests until there are no more."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        check = importlib.import_module(CONTENDERS[contender]).check
        answers.write("ready\n")
        answers.flush()
        for line in sys.stdin:
            request = json.loads(line)
            subject = Subject(Path(request["path"]), request["kind"])
            budget = Budget(request["schedules"], request["seconds"])
            started = time.monotonic()
            try:
                outcome = check(subject, budget)
            except BaseException as error:
                traceback.print_exc()
                seconds = time.monotonic() - started
                detail = f"{type(error).__name__}: {error}"[:200]
                outcome = Outcome("error", seconds=seconds, detail=detail)
            answers.write(json.dumps(outcome.plain()) + "\n")
            answers.flush()
        # Threads that a program has left behind would keep the process.
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
