"""The report as text: for a terminal, a failing test, a log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lmi_runtime.stress.model import Finding, Report, Verdict
from lmi_runtime.stress.report.acts import (
    Act,
    acts,
    deviation_words,
    gap_words,
    unordered,
    where,
)
from lmi_runtime.stress.report.characters import (
    clip,
    compact_json,
    one_line,
    visible,
    width_of,
    wrap,
)
from lmi_runtime.stress.report.story import Gap, Row, Story, tell
from lmi_runtime.stress.report.words import (
    builds,
    claim,
    effort,
    heading,
    limits,
    replay_command,
    size,
    verdict_words,
)

__all__ = ["text"]

NARROWEST = 40
"""No narrower than this, whatever was asked for."""

COLUMN = 30
"""An actor gets a column of its own if it can be this wide."""

ROOMY = 72
"""From here on the names of facts stand in a column of their own."""

LABEL = 15
SOURCE_LINES = 3
VALUE_LINES = 2
MAX_EVENTS = 8

STYLES = {
    "bad": "bold red",
    "good": "bold green",
    "doubt": "bold yellow",
    "strong": "bold",
    "dim": "dim",
    "break": "bold magenta",
    "focus": "bold yellow",
    "read": "none",
    "write": "none",
    "lock": "cyan",
    "wait": "cyan",
    "plain": "dim",
    "": "none",
}

Span = tuple[str, str]
"""Some text and the key of its style."""

Line = list[Span]


def text(report: Report, *, width: int = 100, colour: bool = False) -> str:
    """
    The whole report for people.

    Args:
        report: Of any verdict.
        width: Columns to fit into; at least 40 are used. The replay command is never broken.
        colour: With ANSI colours; needs rich.
    """
    lines = list(_report(report, max(width, NARROWEST)))
    paint = _paint if colour else _plain
    return "\n".join(paint(line) for line in lines) + "\n"


def _plain(line: Line) -> str:
    return "".join(said for said, _ in line).rstrip()


def _paint(line: Line) -> str:
    from rich.color import ColorSystem
    from rich.style import Style

    return "".join(
        Style.parse(STYLES[style]).render(said, color_system=ColorSystem.STANDARD)
        for said, style in line
    )


# ------------------------------------------------------------------------- the whole


def _report(report: Report, width: int) -> Iterator[Line]:
    tone = {Verdict.FAILED: "bad", Verdict.PASSED: "good", Verdict.INCONCLUSIVE: "doubt"}
    yield [
        (verdict_words(report), tone[report.verdict]),
        ("  ", ""),
        (one_line(report.subject), "strong"),
    ]
    for number, finding in enumerate(report.findings, 1):
        yield []
        if len(report.findings) > 1:
            title = f"── {number} of {len(report.findings)} "
            yield [(title + "─" * (width - len(title)), "dim")]
        yield from _finding(finding, width)
    yield []
    yield from _coverage(report, width)


def _coverage(report: Report, width: int) -> Iterator[Line]:
    claims = [*claim(report), effort(report)]
    yield from _fact("tried", claims, width)
    if report.verdict is not Verdict.FAILED:
        yield from _fact("", [limits(report)], width, style="dim")
    if report.coverage.uncontrolled:
        yield from _fact("uncontrolled", report.coverage.uncontrolled, width, style="doubt")
    if report.notes:
        yield from _fact("notes", report.notes, width)


def _fact(name: str, values: Iterable[str], width: int, *, style: str = "") -> Iterator[Line]:
    label = name.ljust(LABEL) if width >= ROOMY else name and f"{name.strip()}: "
    indent = LABEL if width >= ROOMY else 2
    for value in values:
        for line in wrap(visible(value), width - max(indent, len(label))):
            yield [(label, "dim"), (line, style)]
            label = " " * indent


# ------------------------------------------------------------------------- one finding


def _finding(finding: Finding, width: int) -> Iterator[Line]:
    story = tell(finding)
    kind = "warning" if finding.warning else "failure"
    tone = "doubt" if finding.warning else "bad"
    label = f"{kind} ({one_line(finding.oracle)})"
    yield [(clip(f"{label}: {heading(finding)}", width), tone)]
    yield from ([(line, "strong")] for line in wrap(visible(finding.sentence), width))
    yield []
    yield from _facts(story, width)
    if story.rows:
        yield []
        yield from _timeline(story, width)
    yield []
    if conflict := unordered(story):
        yield from _fact("conflict", [conflict], width, style="focus")
    if finding.traceback:
        yield from _traceback(finding.traceback, width)
    if finding.hint:
        yield from _fact("usual mend", [finding.hint], width, style="strong")
    if command := replay_command(finding):
        label = "replay".ljust(LABEL) if width >= ROOMY else ""
        yield [(label, "dim"), (command, "strong")]


def _facts(story: Story, width: int) -> Iterator[Line]:
    finding = story.finding
    if finding.object_path:
        yield from _fact("shared object", [finding.object_path], width, style="focus")
    if finding.cycle:
        yield from _fact("cycle", finding.cycle, width, style="focus")
    yield from _fact("happens on", [builds(finding)], width)
    yield from _fact("smallest form", [size(finding)], width)
    room = width * 2
    events = [
        clip(f"{number}  {compact_json(event)}", room)
        for number, event in enumerate(finding.events[:MAX_EVENTS], 1)
    ]
    if len(finding.events) > MAX_EVENTS:
        events.append(f"and {len(finding.events) - MAX_EVENTS} more")
    yield from _fact("events", events, width)
    yield from _fact("source", [one_line(file) for file in story.files()[:3]], width)


def _traceback(traceback: str, width: int) -> Iterator[Line]:
    lines = visible(traceback.strip()).split("\n")
    for number, line in enumerate(lines[-12:]):
        yield from _fact("traceback" if number == 0 else " ", [line], width, style="dim")


# ------------------------------------------------------------------------- the timeline


def _timeline(story: Story, width: int) -> Iterator[Line]:
    digits = len(str(story.rows[-1].number))
    room = width - digits - 2
    count = len(story.actors)
    column = (room - 3 * (count - 1)) // count
    if column >= COLUMN or count == 1:
        yield from _columns(story, digits, column)
    else:
        yield from _list(story, digits, room)


def _columns(story: Story, digits: int, column: int) -> Iterator[Line]:
    order = [actor.number for actor in story.actors]
    indent = " " * (digits + 2)

    def across(position: int, number: str, line: Line) -> Line:
        cells: Line = [(number.rjust(digits) + "  ", "dim")]
        for at in range(len(order)):
            here = line if at == position else []
            used = sum(width_of(said) for said, _ in here)
            cells += here
            last = at == len(order) - 1
            cells += [(" " * (column - used), ""), *([] if last else [(" │ ", "dim")])]
        return cells

    names = [_padded(clip(one_line(actor.name), column), column) for actor in story.actors]
    yield [(indent, ""), (" │ ".join(names), "strong")]
    yield [(indent, ""), ("─┼─".join("─" * column for _ in order), "dim")]
    for item in story.shown:
        if isinstance(item, Gap):
            position = order.index(item.actors[0])
            for said in wrap(f"… {gap_words(story, item)} …", column):
                yield across(position, "", [(said, "dim")])
            continue
        position = order.index(item.actor)
        if item.deviates:
            yield _arrow(story, item, order, column, indent)
        number = str(item.number)
        for line in _row(story, item, column):
            yield across(position, number, line)
            number = ""


def _arrow(story: Story, row: Row, order: Sequence[int], column: int, indent: str) -> Line:
    """A bar over the columns between the one that was stopped and the one that runs."""
    words = f" {deviation_words(story, row)} "
    now = order.index(row.actor)
    then = now if row.after is None else order.index(row.after)
    left, right = min(now, then), max(now, then)
    total = (column + 3) * len(order) - 3
    start = (column + 3) * left
    length = max((column + 3) * (right - left) + 2, 8)
    if now > then:
        bar = "━━" + words + "━" * (length - width_of(words) - 3) + "▶"
    elif now < then:
        bar = "◀━" + words + "━" * (length - width_of(words) - 2)
    else:
        bar = "━━" + words + "━━"
    start = max(min(start, total - width_of(bar)), 0)
    return [(indent + " " * start, ""), (clip(bar, total), "break")]


def _padded(said: str, width: int) -> str:
    return said + " " * (width - width_of(said))


def _list(story: Story, digits: int, room: int) -> Iterator[Line]:
    """More actors than columns: each row says whose it is."""
    names = {actor.number: clip(one_line(actor.name), 20) for actor in story.actors}
    tag = max(map(width_of, names.values()))
    indent = " " * (digits + 2)
    before = None
    for item in story.shown:
        if isinstance(item, Gap):
            tag_of_gap = names[item.actors[0]] if len(item.actors) == 1 else ""
            for said in wrap(f"… {gap_words(story, item)} …", room - tag - 3):
                pad = " " * (tag - width_of(tag_of_gap))
                yield [(indent + tag_of_gap + pad + " │ ", "dim"), (said, "dim")]
                tag_of_gap = ""
            before = None
            continue
        if item.deviates:
            yield [(indent, ""), (clip(f"━━ {deviation_words(story, item)} ━━▶", room), "break")]
        name = names[item.actor] if item.actor != before else ""
        number = str(item.number)
        for line in _row(story, item, room - tag - 3):
            pad = " " * (tag - width_of(name))
            tagged: Line = [(name + pad, "strong"), (" │ ", "dim")]
            yield [(number.rjust(digits) + "  ", "dim"), *tagged, *line]
            name = number = ""
        before = item.actor


def _row(story: Story, row: Row, width: int) -> Iterator[Line]:
    place, told = where(story, row), acts(story, row)
    if row.source:
        source = ("… " if row.goes_on else "") + one_line(row.source)
        first, *rest = wrap(f"{place}  {source}".strip(), width, lines=SOURCE_LINES, indent=4)
        yield [(first[: len(place)], "dim"), (first[len(place) :], "")]
        for line in rest:
            yield [(line, "")]
        for act in told:
            yield from _act(act, width, "  ")
        return
    for number, act in enumerate(told or [Act("runs", place, "", "plain")]):
        yield from _act(act, width, "" if number == 0 else "  ")


def _act(act: Act, width: int, indent: str) -> Iterator[Line]:
    mark = "● " if act.tone == "focus" else "  " if indent else ""
    room = width - len(indent) - len(mark)
    for number, line in enumerate(wrap(act.words, room, lines=VALUE_LINES)):
        yield [(indent + (mark if number == 0 else " " * len(mark)) + line, act.tone)]
