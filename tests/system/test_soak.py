"""The soak, cut short: real runtimes, every kind of call, every answer checked."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from stress import soak

pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="not run: the soak reads /proc"),
]


# Half as much memory again: after so few calls the heap has not settled. What leaks with every
# call still shows, and the whole soak has its own, tighter bound.
@pytest.mark.parametrize(
    ("loop", "forms"),
    [
        ("--uvloop", ["task", "thread", "stream", "thread_stream"]),
        ("--no-uvloop", ["task", "thread_stream"]),
    ],
)
def test_every_call_of_every_form_gets_its_own_answer(
    loop: str, forms: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if loop == "--uvloop":
        pytest.importorskip("uvloop")
    report = tmp_path / "soak.json"

    code = soak.main(
        [
            *("--invocations", "800", "--slots", "4", "--seed", "1", "--forms", *forms),
            *("--timeout", "10", "--rss-tolerance", "0.5", "--readings", "3"),
            *(loop, "--json", str(report)),
        ]
    )

    assert code == 0, capsys.readouterr().out
    soaked = json.loads(report.read_text())["forms"]
    assert sum(sum(one["answered"].values()) + one["gone"] for one in soaked) == 800
    assert {one["form"]: one["wrong"] for one in soaked} == dict.fromkeys(forms, 0)
