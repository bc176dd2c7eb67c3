"""What powertools documents of its event handlers is as it is without us, one call at a time."""

from __future__ import annotations

import subprocess
import sys

from tests.support.patience import PATIENCE_S


def _started(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.documented_routes", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _answers(process: subprocess.Popen[str]) -> list[str]:
    output, _ = process.communicate(timeout=3 * PATIENCE_S)
    assert process.returncode == 0
    return output.splitlines()


def test_answers_are_the_same() -> None:
    theirs, ours = map(_answers, [_started(), _started("safe")])
    different = [pair for pair in zip(theirs, ours, strict=True) if pair[0] != pair[1]]
    assert different == []
    assert len(theirs) > 60
