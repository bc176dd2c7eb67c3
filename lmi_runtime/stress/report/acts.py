"""What a row says below its source line, in words, the same in a terminal and on a page."""

from __future__ import annotations

from typing import Literal, NamedTuple

from lmi_runtime.stress.model import Access, Deviation, Step
from lmi_runtime.stress.report.characters import one_line
from lmi_runtime.stress.report.story import Gap, Row, Story
from lmi_runtime.stress.report.words import plural

__all__ = ["Act", "acts", "deviation_words", "gap_words", "unordered", "where"]

MAX_ACTS = 6
MAX_VALUE = 60

Tone = Literal["focus", "read", "write", "lock", "wait", "plain"]


class Act(NamedTuple):
    """A few words on what happened, and how much they matter."""

    verb: str
    object: str
    value: str
    tone: Tone

    @property
    def words(self) -> str:
        """As one sentence without a subject."""
        return " ".join(part for part in (self.verb, self.object, self.value) if part)


VERBS = {"read": "reads", "write": "writes", "update": "updates"}


def acts(story: Story, row: Row) -> list[Act]:
    """What happened on this row, in order, at most a handful."""
    told = story.accesses(row)
    found: list[Act] = []
    for step in row.steps:
        found += [_access(story, access) for access in told if access in step.accesses]
        told = [access for access in told if access not in step.accesses]
        if step.kind != "run":
            found.append(_act(story, row, step))
    if len(found) <= MAX_ACTS:
        return found
    telling = [act for act in found if act.tone != "plain"]
    kept = sorted(telling, key=lambda act: act.tone != "focus")[: MAX_ACTS - 1]
    kept = [act for act in found if act in kept][: MAX_ACTS - 1]
    return [*kept, Act("", f"and {len(found) - len(kept)} more", "", "plain")]


def _access(story: Story, access: Access) -> Act:
    tone: Tone = "read" if access.mode == "read" else "write"
    if access.location in story.focus:
        tone = "focus"
    value = one_line(access.value)
    if len(value) > MAX_VALUE:
        value = value[: MAX_VALUE - 1] + "…"
    sign = "→" if access.mode == "read" else "="
    path = one_line(access.location.path)
    return Act(VERBS[access.mode], path, f"{sign} {value}" if value else "", tone)


def _act(story: Story, row: Row, step: Step) -> Act:
    subject, detail = one_line(step.subject), one_line(step.detail)
    match step.kind:
        case "start":
            return Act("starts", detail, "", "plain")
        case "end":
            return Act("ends:" if detail else "ends", detail, "", "plain")
        case "acquire":
            return Act("takes", subject, detail, "lock")
        case "release":
            return Act("releases", subject, detail, "lock")
        case "wait" | "join":
            ever = " for ever" if _never_ends(story, row) else ""
            verb = f"waits{ever} for{'' if step.kind == 'wait' else ' the end of'}"
            return Act(verb, subject, detail or _held(story, row, step), "wait")
        case "wake":
            return Act("goes on", f"after waiting for {subject}" if subject else "", detail, "lock")
        case "notify":
            return Act("notifies", subject, detail, "lock")
        case "sleep":
            return Act("sleeps", subject, detail, "wait")
        case "spawn":
            return Act("starts", subject, detail, "plain")
        case "await":
            return Act("awaits" if subject else "gives up the loop", subject, detail, "wait")
        case "cancel":
            return Act("is cancelled", subject, detail, "wait")
        case _:
            return Act("", detail or subject, "", "plain")


def _never_ends(story: Story, row: Row) -> bool:
    if story.finding.oracle != "deadlock":
        return False
    return any(
        span.last is None and span.actor == row.actor and span.first == row.number
        for span in story.waits
    )


def _held(story: Story, row: Row, step: Step) -> str:
    span = story.holder(step.subject, row.number, besides=step.actor)
    if span is None:
        return ""
    return f"(held by {one_line(story.name(span.actor))} since {span.first})"


def where(story: Story, row: Row) -> str:
    """``app.py:12``, or nothing if the place is not known."""
    if row.place is None:
        return ""
    return f"{one_line(story.file_name(row.place))}:{row.place.line}"


def deviation_words(story: Story, row: Row) -> str:
    """What the scheduler did just before this row."""
    after = one_line(story.name(row.actor if row.after is None else row.after))
    now = one_line(story.name(row.actor))
    match row.deviation:
        case Deviation(kind="cancel"):
            return f"{now} is cancelled here"
        case Deviation(kind="task"):
            return f"the loop resumes {now} out of turn"
        case Deviation(to=-1):
            return "time passes to the next timer"
        case Deviation(kind="forced"):
            return f"{after} cannot go on; of the others {now} is chosen"
        case _ if row.after is None:
            return f"the scheduler chooses {now}"
        case _:
            return f"{after} is preempted, {now} runs"


def gap_words(story: Story, gap: Gap) -> str:
    """What is left out, and why it may be."""
    lines = plural(len(gap.rows), "line")
    if not any(story.accesses(row) for row in gap.rows):
        if all(step.kind == "run" for row in gap.rows for step in row.steps):
            return f"{lines} without shared state"
        return f"{lines} without shared state, only locks and waits"
    if not any(a.location in story.focus for row in gap.rows for a in story.accesses(row)):
        return f"{lines} that do not touch {one_line(_object(story))}"
    return f"{lines} more of the same"


def _object(story: Story) -> str:
    return story.finding.object_path or next((x.path for x in story.focus), "the object at fault")


def unordered(story: Story) -> str:
    """The two accesses that nothing orders, as a sentence; empty without a conflict."""
    if story.conflict is None:
        return ""
    first = _side(story, story.conflict.first, one_line(story.conflict.location.path))
    second = _side(story, story.conflict.second, "it")
    return f"nothing orders {first} and {second}" if first and second else ""


def _side(story: Story, index: int, path: str) -> str:
    row = story.row_of(index)
    if row is None or story.conflict is None:
        return ""
    (step,) = [step for step in row.steps if step.index == index]
    location = story.conflict.location
    verbs = [VERBS[a.mode] for a in step.accesses if a.location == location]
    verb = verbs[-1] if verbs else "touches"
    return f"{row.number} ({one_line(story.name(row.actor))} {verb} {path})"
