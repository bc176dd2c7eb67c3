"""What a search is told and what it answers. All frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from lmi_runtime import _sync
from lmi_runtime.stress.model import Coverage, Finding, Granularity
from lmi_runtime.stress.program import Chooser, Complaint, Execution, Program, RunOptions
from lmi_runtime.stress.search.tokens import Replay

__all__ = ["Execute", "Found", "Progress", "SearchResult", "SearchSettings"]


class Execute(Protocol):
    """Makes one run of a program: `lmi_runtime.stress.control.execute` or a model of it."""

    def __call__(self, program: Program, chooser: Chooser, options: RunOptions, /) -> Execution:
        """Run it once, from its start, to its end."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """
    How far a search has come.

    Attributes:
        schedules: Runs so far.
        limit: Runs after which it stops.
        search: Which part of the portfolio is at work.
        seconds: Real seconds so far.
    """

    schedules: int
    limit: int
    search: str
    seconds: float


def _silent(_progress: Progress) -> None:
    return


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """
    How to search.

    Attributes:
        budget_s: Real seconds; ``math.inf``: the number of runs alone counts.
        max_schedules: Runs. Making a failure smaller may take a tenth more of both.
        max_bound: Preemptions up to which every schedule is to be tried; beyond it the search
            goes on as the budget lasts.
        granularities: To be searched, the most telling first.
        seed: The same seed makes the same runs.
        first: Schedules to try before all others.
        stop_at: ``any``: stop at the first finding. ``failure``: a finding that only
            free-threaded builds can have does not end the search for one that all can.
            ``never``: one finding for each different complaint, until the budget is spent.
        serial_orders: First so many runs with one participant after the other, for judges that
            compare with them; 0 if the judge does not.
        options: For every run; its granularity and `record` are the search's to set.
        progress: Called after every run.
        clock: Real seconds.
        examples: Directory in which failures are kept for the next time.
    """

    budget_s: float = 60.0
    max_schedules: int = 2000
    max_bound: int = 2
    granularities: tuple[Granularity, ...] = (Granularity.GIL, Granularity.FREE_THREADED)
    seed: int = 0
    first: tuple[Replay, ...] = ()
    stop_at: Literal["any", "failure", "never"] = "failure"
    serial_orders: int = 0
    options: RunOptions = field(default_factory=RunOptions)
    progress: Callable[[Progress], None] = _silent
    clock: Callable[[], float] = _sync.monotonic
    examples: Path | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """
    One failure, made small.

    Attributes:
        finding: Ready for a report, except for what explains it (conflicts, cycle lines).
        complaint: What the oracle said of the last run of it.
        execution: That run, recorded.
        search: Which part of the portfolio saw it first.
        after: Runs until it was first seen.
    """

    finding: Finding
    complaint: Complaint
    execution: Execution
    search: str
    after: int


@dataclass(frozen=True, slots=True)
class SearchResult:
    """
    What a search found and how much it tried.

    Attributes:
        found: Failures before warnings, else as they were found.
        coverage: How much was tried.
        notes: Sentences on what was not tried or not certain.
        seconds: Real seconds it took.
    """

    found: tuple[Found, ...] = ()
    coverage: Coverage = field(default_factory=Coverage)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings alone."""
        return tuple(each.finding for each in self.found)
