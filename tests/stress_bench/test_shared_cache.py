"""The bench of shared caches: a short run of it, and what it prints."""

from __future__ import annotations

import json

import pytest

from stress.bench import shared_cache


@pytest.mark.slow
@pytest.mark.system
def test_a_short_run_measures_everything(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("diskcache")
    flags = ["--seconds", "0.05", "--rounds", "1", "--processes", "3", "--json"]

    assert shared_cache.main([*flags, "--contenders", "sqlite", "diskcache"]) == 0

    said = json.loads(capsys.readouterr().out)
    ours, theirs = said["results"]
    assert (ours["name"], theirs["name"]) == ("sqlite", "diskcache")
    for figure in ("gets_per_s", "gets_per_cpu_s", "mixed_per_s", "load_ms", "recovery_ms"):
        assert ours[figure] > 0
    assert ours["loads"] == 1
    assert ours["recovery_ms"] < 30_000  # whoever loads would have slept for 60 s


def test_a_table_has_a_line_for_each() -> None:
    results = [shared_cache.Result("lmdb", gets_per_s=200_000.4), shared_cache.Result("sqlite")]

    lines = shared_cache._render(results, 16).splitlines()

    assert len(lines) == 4
    assert "200,000" in lines[2]
