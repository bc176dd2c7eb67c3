"""The benchmark of `make_safe` times what is ours, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from stress.bench import safety
from stress.bench.footprint import Python


@pytest.mark.system
@pytest.mark.slow
def test_what_the_function_does_is_not_counted(tmp_path: Path) -> None:
    busy = "stop_s = time.thread_time() + 0.5\nwhile time.thread_time() < stop_s: pass"

    assert 0.0 < safety.cost_ms(Python(tmp_path), busy, rounds=1) < 400.0


def test_a_start_that_takes_too_long_fails_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safety, "cost_ms", lambda *_: 19.0)
    assert safety.main(["--check"]) == 0

    monkeypatch.setattr(safety, "cost_ms", lambda *_: 21.0)
    assert safety.main(["--check"]) == 1
