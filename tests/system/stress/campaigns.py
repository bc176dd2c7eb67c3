"""Campaigns as short as a test can be: as long on every machine."""

from __future__ import annotations

import math

from lmi_runtime.stress.model import Report
from stress.scenarios import Budget, Scenario, explored

__all__ = ["FAST", "HUNT", "LIBRARIES", "searched"]

# By the number of schedules: how many there is time for depends on who else uses the machine.
FAST = Budget(preemptions=1, schedules=100, seconds=math.inf)
LIBRARIES = FAST._replace(schedules=40)
"""With libraries in it that do a lot, each run takes long."""
HUNT = Budget(preemptions=2, schedules=600, seconds=math.inf)
"""For a scenario that fails: a hunt ends with the first failure."""


def searched(name: str, scenario: Scenario, budget: Budget) -> Report:
    """
    Look for a failure of `scenario` on any build.

    Free-threaded builds can switch wherever those with the GIL can, so one search is for both.
    """
    if scenario.granularity == "default":
        scenario = scenario._replace(granularity="free-threaded")
    return explored(name, scenario, budget)
