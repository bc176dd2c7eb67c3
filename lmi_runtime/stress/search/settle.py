"""What becomes of a failing run: made small, proven, recorded, named by a token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from lmi_runtime.stress.model import Finding, Granularity, Schedule
from lmi_runtime.stress.program import Complaint, Execution, Program
from lmi_runtime.stress.search.bounded import BoundedSearch
from lmi_runtime.stress.search.chooser import Scripted
from lmi_runtime.stress.search.facts import Found, SearchSettings
from lmi_runtime.stress.search.ledger import Find, Ledger
from lmi_runtime.stress.search.minimise import cost, minimise
from lmi_runtime.stress.search.replay import make_replay
from lmi_runtime.stress.search.runner import OutOfControl, Runner, Spent, complaint_like
from lmi_runtime.stress.search.tokens import Replay, TokenError, encode

__all__ = ["Settler", "preemptions_in_words"]


class Settler:
    """
    Turns finds into findings.

    Args:
        program: What failed.
        settings: Which granularities count.
        runner: Makes the runs.
        bounded: Knows what was tried, and tries what is smaller.
        ledger: Where findings go.
        events: Of the invocations.
        keep: Told of every replay, to keep it for the next time.

    Thread safety: one thread, the one that explores.
    """

    def __init__(
        self,
        program: Program,
        settings: SearchSettings,
        runner: Runner,
        bounded: BoundedSearch,
        ledger: Ledger,
        events: tuple[Any, ...],
        keep: Callable[[Replay], None],
    ) -> None:
        self._program = program
        self._settings = settings
        self._runner = runner
        self._bounded = bounded
        self._ledger = ledger
        self._events = events
        self._keep = keep
        self.aside: list[Find] = []
        """Other failures met on the way."""

    def settle(self, find: Find) -> None:
        """Report a find, for the first of its keys, or a smaller one that was met on the way."""
        self._runner.allow_grace()
        best = find = replace(find, keys=find.keys[:1])
        try:
            for smaller in self._ever_smaller(find):
                best = smaller
        except (Spent, OutOfControl):
            pass  # what there is by now is what is reported
        execution = self._runner.run(
            self._program, Scripted(best.schedule), best.granularity, "report",
            record=True, last=True,
        )  # fmt: skip
        complaint = complaint_like(execution, best.keys[0])
        if complaint is None:
            self._runner.escaped(
                "A failure was seen, but its schedule did not fail again: "
                "something decides that is not under control."
            )
            return
        finding = self._finding(best, complaint, execution)
        found = Found(finding, complaint, execution, find.search, find.after)
        self._ledger.enter(found, best.keys[0])

    # ------------------------------------------------------------------ smaller

    def _ever_smaller(self, find: Find) -> Iterator[Find]:
        """The find in forms that get smaller; the last is the smallest that can be had."""
        key = find.keys[0]

        def fails(schedule: Schedule) -> Schedule | None:
            execution = self._runner.follow(self._program, schedule, find.granularity, "minimise")
            return execution.taken if complaint_like(execution, key) else None

        in_order = find.search in ("bounded", "serial")
        if not in_order or cost(find.schedule) < len(find.schedule):
            find = replace(find, schedule=minimise(find.schedule, fails))
            yield find
        yield from self._below(find)

    def _below(self, find: Find) -> Iterator[Find]:
        """Exhaust what is smaller, and what would also fail on builds with the GIL."""
        price = cost(find.schedule)
        for level in range(price + 1):
            for each in self._settings.granularities:
                counts = level < price or (each is Granularity.GIL and not find.is_gil)
                if not counts:
                    continue
                for other in self._bounded.drain(level, each):
                    smaller = self._instead(find, other, level < price)
                    if smaller is not None:
                        yield smaller
                        yield from self._below(smaller)
                        return
                    self.aside.append(other)

    def _instead(self, find: Find, other: Find, costs_less: bool) -> Find | None:
        """What to report instead of `find`, now that `other` was met; None: `find` stays."""
        if find.keys[0] in other.keys:
            return replace(other, keys=find.keys)
        if self._settings.stop_at == "never" or not costs_less or other.is_gil < find.is_gil:
            return None
        # Only one failure will be reported: the smallest there is, whatever is wrong there.
        return replace(other, keys=other.keys[:1])

    # ------------------------------------------------------------------ in words

    def _finding(self, find: Find, complaint: Complaint, execution: Execution) -> Finding:
        price = cost(find.schedule)
        granularities = self._settings.granularities
        if not find.is_gil:
            self._note_builds(price)
        replay = make_replay(self._program.name, find.granularity, execution, self._events)
        return Finding(
            oracle=complaint.oracle,
            sentence=complaint.sentence,
            hint=complaint.hint,
            granularity=find.granularity,
            builds=("gil", "free-threaded") if find.is_gil else ("free-threaded",),
            schedule=find.schedule,
            preemptions=price,
            minimal=all(self._bounded.bound(each) >= price - 1 for each in granularities),
            token=self._token(replay),
            events=self._events,
            actors=execution.actors,
            steps=execution.steps,
            object_path=complaint.object_path,
            cycle=complaint.cycle,
            traceback=complaint.traceback,
            warning=not find.is_gil and Granularity.GIL in granularities,
        )

    def _token(self, replay: Replay) -> str:
        try:
            token = encode(replay)
        except TokenError as error:
            self._ledger.note(f"There is no token for a failure: {error}.")
            return ""
        self._keep(replay)
        return token

    def _note_builds(self, price: int) -> None:
        if Granularity.GIL not in self._settings.granularities:
            self._ledger.note("Whether builds with the GIL can fail like this was not asked.")
        elif self._bounded.bound(Granularity.GIL) < price:
            self._ledger.note(
                "Not seen where builds with the GIL can switch, but there not all schedules "
                f"with {preemptions_in_words(price)} were tried."
            )


def preemptions_in_words(number: int) -> str:
    """``one preemption``, ``2 preemptions``."""
    return "one preemption" if number == 1 else f"{number or 'no'} preemptions"
