"""Run one scenario, and keep what fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from lmi_runtime.stress import explore
from lmi_runtime.stress.model import Finding, Report
from stress.scenarios.scenario import Budget, Scenario

__all__ = ["explored", "kept", "line_of"]

FOUND = Path(__file__).parent / "found"


def explored(
    name: str,
    scenario: Scenario,
    budget: Budget | None = None,
    *,
    seed: int = 0,
    progress: Callable[..., None] | None = None,
) -> Report:
    """Look for an order of events in which `scenario` fails."""
    limits = budget or scenario.budget
    return explore(
        scenario.setup,
        scenario.participants,
        scenario.invariant,
        name=f"stress.scenarios:{name}",
        preemptions=limits.preemptions,
        schedules=limits.schedules,
        budget_s=limits.seconds,
        include=scenario.include,
        cancel=scenario.cancels,
        granularity=scenario.granularity,  # type: ignore[arg-type]
        seed=seed,
        progress=progress,
    )


def line_of(name: str, report: Report) -> str:
    """What a campaign says of one scenario."""
    coverage = report.coverage
    # Our own code is to hold on free-threaded builds, too: a warning is a failure here.
    verdict = "failed" if report.findings else report.verdict.value
    bounds = ", ".join(f"{g.value} {bound}" for g, bound in coverage.bounds.items())
    return (
        f"{name:<28} {verdict:<12} bound {coverage.bound} ({bounds})  "
        f"{coverage.schedules} schedules  {report.seconds:.1f} s"
    )


def kept(name: str, finding: Finding, folder: Path = FOUND) -> Path:
    """Write down how `finding` is seen again; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"scenario_{name}_{finding.granularity.value}.json"
    facts = {
        "program": f"stress.scenarios:{name}",
        "key": [finding.oracle, finding.object_path],
        "token": finding.token,
    }
    path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return path
