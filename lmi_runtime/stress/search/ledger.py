"""What a search has found so far, shared by its parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lmi_runtime.stress.model import Granularity, Schedule
from lmi_runtime.stress.program import Execution
from lmi_runtime.stress.search.facts import Found

__all__ = ["Find", "FindKey", "Ledger"]

FindKey = tuple[str, str]
"""See `Complaint.key`."""


@dataclass(frozen=True, slots=True)
class Find:
    """
    A run that failed.

    Attributes:
        schedule: The deviations it took.
        granularity: Where threads could be preempted.
        keys: What failed, as far as it is not reported yet.
        search: Which part of the portfolio made the run.
        after: How many runs there had been.
    """

    schedule: Schedule
    granularity: Granularity
    keys: tuple[FindKey, ...]
    search: str
    after: int

    @property
    def is_gil(self) -> bool:
        """A build with the GIL can switch like this."""
        return self.granularity is Granularity.GIL


@dataclass(slots=True)
class Ledger:
    """
    Findings and notes, each once.

    Thread safety: one thread, the one that explores.
    """

    found: list[Found] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)  # a set that keeps its order
    _known: set[tuple[FindKey, bool]] = field(default_factory=set)

    def note(self, sentence: str) -> None:
        """Say something in the report."""
        self.notes[sentence] = None

    def enter(self, found: Found, key: FindKey) -> None:
        """Report a failure; the same one is news again only if builds with the GIL have it."""
        self.found.append(found)
        self._known.add((key, found.finding.granularity is Granularity.GIL))

    def is_known(self, key: FindKey, granularity: Granularity) -> bool:
        """Whether this failure is reported, for builds that include those of `granularity`."""
        gil = granularity is Granularity.GIL
        return (key, True) in self._known or (not gil and (key, False) in self._known)

    def fresh(self, execution: Execution, granularity: Granularity) -> tuple[FindKey, ...]:
        """What failed in a run and is not reported yet."""
        keys = dict.fromkeys(each.key for each in execution.complaints)
        return tuple(each for each in keys if not self.is_known(each, granularity))

    def suffices(self, stop_at: Literal["any", "failure", "never"]) -> bool:
        """No more findings are wanted."""
        if not self.found or stop_at == "never":
            return False
        return stop_at == "any" or not all(each.finding.warning for each in self.found)
