"""Makes runs, counts them, and stops when the budget is spent or nothing is under control."""

from __future__ import annotations

from dataclasses import replace

from lmi_runtime.stress.model import Granularity, Schedule
from lmi_runtime.stress.program import Chooser, Complaint, Execution, Program, RunOptions
from lmi_runtime.stress.search.chooser import Scripted
from lmi_runtime.stress.search.facts import Execute, Progress, SearchSettings

__all__ = ["OutOfControl", "Runner", "Spent", "complaint_like"]

_UNCONTROLLED_RUNS = 3
_GRACE = 0.1

_MOST_REMEMBERED = 200_000
"""Decisions of runs that need not be made again, all together."""


class Spent(Exception):
    """No run is left in the budget."""


class OutOfControl(Exception):
    """Run after run escaped control: going on proves nothing."""


class Runner:
    """
    The one way from a search to `execute()`.

    Thread safety: one thread, the one that explores.
    """

    def __init__(self, execute: Execute, settings: SearchSettings) -> None:
        self._execute = execute
        self._settings = settings
        self._usual: dict[Granularity, int] = {}
        self._options: dict[tuple[Granularity, bool], RunOptions] = {}
        self._started = settings.clock()
        self._grace = 0.0
        self.schedules = 0
        self.points = 0
        self.searches: dict[str, int] = {}
        self.uncontrolled: dict[str, None] = {}  # a set that keeps its order
        self._escaped = 0
        # By identity of the program, which is kept so that no identity is used twice.
        self._made: dict[tuple[int, Granularity, Schedule], tuple[Program, Execution]] = {}
        self._remembered = 0

    @property
    def seconds(self) -> float:
        """Real seconds since the search began."""
        return self._settings.clock() - self._started

    @property
    def left(self) -> int:
        """Runs left, by their number alone."""
        return int(self._settings.max_schedules * (1 + self._grace)) - self.schedules

    @property
    def fraction_left(self) -> float:
        """What is left of the budget, by number or by time, whichever is scarcer."""
        runs = 1 - self.schedules / max(1, self._settings.max_schedules)
        time = 1 - self.seconds / max(1e-9, self._settings.budget_s)
        return min(runs, time)

    def allow_grace(self) -> None:
        """From here on a little more than the budget: a failure is being made smaller."""
        self._grace = _GRACE

    def run(
        self,
        program: Program,
        chooser: Chooser,
        granularity: Granularity,
        search: str,
        *,
        record: bool = False,
        serial: tuple[int, ...] | None = None,
        last: bool = False,
    ) -> Execution:
        """
        One run.

        Args:
            program: What to run.
            chooser: Who goes on.
            granularity: Where threads may be preempted.
            search: Under which name it counts.
            record: Keep steps and places.
            serial: One participant after the other, in this order.
            last: Needed for the report, whatever the budget says.

        Raises:
            Spent: the budget is.
            OutOfControl: too many runs were not under control.
        """
        if not last:
            self._check()
        options = self._options_for(granularity, record)
        if serial is not None:
            options = replace(options, serial=serial)
        execution = self._execute(program, chooser, options)
        self.schedules += 1
        self.searches[search] = self.searches.get(search, 0) + 1
        self.points = max(self.points, execution.points)
        self._settings.progress(
            Progress(self.schedules, self._settings.max_schedules, search, self.seconds)
        )
        if execution.uncontrolled:
            self.escaped(*execution.uncontrolled)
        elif serial is None:
            self._remember(program, granularity, execution)
        return execution

    def _remember(self, program: Program, granularity: Granularity, execution: Execution) -> None:
        self._remembered += len(execution.decisions)
        if self._remembered <= _MOST_REMEMBERED:
            self._made[id(program), granularity, execution.taken] = program, execution

    def escaped(self, *sentences: str) -> None:
        """A run proves nothing, and why."""
        self._escaped += 1
        self.uncontrolled.update(dict.fromkeys(sentences))

    def follow(
        self,
        program: Program,
        schedule: Schedule,
        granularity: Granularity,
        search: str,
        *,
        record: bool = False,
    ) -> Execution:
        """One run along `schedule`, made now or before; see `run`."""
        known = self._made.get((id(program), granularity, schedule))
        if known is not None and (known[1].steps or not record):
            return known[1]
        return self.run(program, Scripted(schedule), granularity, search, record=record)

    def expect(self, granularity: Granularity, points: int) -> None:
        """Many times `points` in a run from here on is a livelock."""
        if points > self._usual.get(granularity, 0):
            self._usual[granularity] = points
            self._options.clear()

    def _options_for(self, granularity: Granularity, record: bool) -> RunOptions:
        options = self._options.get((granularity, record))
        if options is None:
            options = self._options[granularity, record] = replace(
                self._settings.options,
                granularity=granularity,
                record=record,
                usual_points=self._usual.get(granularity),
            )
        return options

    def _check(self) -> None:
        if self._escaped >= _UNCONTROLLED_RUNS:
            raise OutOfControl
        if self.left <= 0 or self.seconds > self._settings.budget_s * (1 + self._grace):
            raise Spent


def complaint_like(execution: Execution, key: tuple[str, str]) -> Complaint | None:
    """The complaint with `key`, of a run that was under control."""
    if execution.uncontrolled:
        return None
    return next((each for each in execution.complaints if each.key == key), None)
