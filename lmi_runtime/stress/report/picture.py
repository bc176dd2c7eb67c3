"""The timeline as SVG: a lane an actor, time runs downwards, nothing but shapes and classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from lmi_runtime.stress.model import Deviation
from lmi_runtime.stress.report.acts import acts, deviation_words, gap_words, where
from lmi_runtime.stress.report.characters import clip, one_line
from lmi_runtime.stress.report.story import Gap, Row, Span, Story

__all__ = ["COLOURS", "picture"]

COLOURS = 6
"""Actors get one of so many colours in turn."""

GUTTER = 34
HEADER = 40
ROW = 30
BAND = 30
"""Room above a row for the arrow that shows a deviation."""

STEM = 30
"""From the left edge of a lane to its line; bars of locks stand to the left of it."""

GLYPH = 7
"""Width of a character of a label, in the widest of the usual fonts."""

BESIDE = 16
"""From a lane's line to its labels."""

LANES = (165, 270)
"""How narrow and how wide a lane may be; in between its labels decide."""

LETTERS = {"read": "R", "write": "W", "update": "U"}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are, in pixels."""

    story: Story
    name: str
    lane: int
    middle: dict[int, float]
    """The vertical middle of each row, by its number; folded ones share that of their gap."""
    height: float

    @property
    def width(self) -> int:
        return GUTTER + self.lane * len(self.story.actors) + 8

    def index(self, actor: int) -> int:
        return next(i for i, a in enumerate(self.story.actors) if a.number == actor)

    def x(self, actor: int) -> int:
        return GUTTER + self.lane * self.index(actor) + STEM

    def colour(self, actor: int) -> str:
        return f"a{self.index(actor) % COLOURS}"


def picture(story: Story, name: str) -> str:
    """
    An ``<svg>`` element; each row is a link to ``#{name}-r{row number}``.

    Args:
        story: With at least one row.
        name: Unique on the page, a valid id.
    """
    layout = _layout(story, name)
    many = " many" if len(story.actors) > 2 else ""  # on a phone these scroll instead of shrink
    parts = [
        f'<svg class="timeline{many}" viewBox="0 0 {layout.width} {layout.height:.0f}" '
        f'width="{layout.width}" height="{layout.height:.0f}" role="group" '
        f'aria-label="Timeline of {escape(_subject(story))}, from top to bottom">',
        _heads(name),
        *_lanes(layout),
        *_bars(layout),
        *_conflict(layout),
        *_arrows(layout),
        *_events(layout),
        "</svg>",
    ]
    return "\n".join(parts)


def _subject(story: Story) -> str:
    return ", ".join(one_line(actor.name) for actor in story.actors)


def _layout(story: Story, name: str) -> Layout:
    longest = max(
        (len(_label(story, row)) for row in story.shown if isinstance(row, Row)), default=0
    )
    narrowest, widest = LANES if len(story.actors) < 4 else (LANES[0], LANES[0])
    lane = min(max(STEM + BESIDE + GLYPH * (longest + 1), narrowest), widest)
    y, middle = float(HEADER + 8), {}
    for item in story.shown:
        if isinstance(item, Row) and item.deviates:
            y += BAND
        for row in item.rows if isinstance(item, Gap) else (item,):
            middle[row.number] = y + ROW / 2
        y += ROW
    return Layout(story, name, lane, middle, y + 14)


def _heads(name: str) -> str:
    """Arrow heads. They take their colour from a class, since ids are per picture."""
    heads = "".join(
        f'<marker id="{name}-{kind}" class="{kind}" viewBox="0 0 8 8" refX="6" refY="4" '
        f'markerWidth="{size}" markerHeight="{size}" markerUnits="userSpaceOnUse" '
        'orient="auto"><path d="M0 0 8 4 0 8z"/></marker>'
        for kind, size in (("break", 12), ("handoff", 8))
    )
    return f"<defs>{heads}</defs>"


def _lanes(layout: Layout) -> Iterator[str]:
    for actor in layout.story.actors:
        x, colour = layout.x(actor.number), layout.colour(actor.number)
        mine = [row.number for row in layout.story.rows if row.actor == actor.number]
        top, bottom = layout.middle[mine[0]], layout.middle[mine[-1]]
        label = clip(one_line(actor.name), int((layout.lane - 16) / 8.5))
        yield f'<text class="name {colour}" x="{x - 6}" y="24">{escape(label)}</text>'
        yield f'<line class="lane {colour}" x1="{x}" x2="{x}" y1="{HEADER}" y2="{bottom:.0f}"/>'
        for first, last in _turns(layout.story.rows, actor.number):
            above, below = layout.middle[first] - 9, layout.middle[last] + 9
            yield (
                f'<rect class="turn {colour}" x="{x - 3}" y="{max(above, top - 9):.0f}" '
                f'width="6" height="{below - above:.0f}" rx="3"/>'
            )


def _turns(rows: Sequence[Row], actor: int) -> Iterator[tuple[int, int]]:
    first = last = 0
    for row in rows:
        if row.actor != actor:
            continue
        if first and row.number == last + 1:
            last = row.number
            continue
        if first:
            yield first, last
        first = last = row.number
    yield first, last


def _bars(layout: Layout) -> Iterator[str]:
    for wait in layout.story.waits:
        yield _bar(layout, wait, "waiting", layout.x(wait.actor) - 3, "waits for")
    depth: dict[int, list[Span]] = {}
    for hold in layout.story.held:
        beside = depth.setdefault(hold.actor, [])
        taken = sum(s.last is None or s.last >= hold.first for s in beside)
        beside.append(hold)
        x = layout.x(hold.actor) - 12 - 7 * min(taken, 2)
        yield _bar(layout, hold, "held", x, "holds")


def _bar(layout: Layout, span: Span, kind: str, x: int, verb: str) -> str:
    top = layout.middle[span.first]
    bottom = layout.height - 6 if span.last is None else layout.middle[span.last]
    ends = "" if span.last is not None else " for ever" if kind == "waiting" else " to the end"
    who = one_line(layout.story.name(span.actor))
    title = escape(f"{who} {verb} {one_line(span.subject)}{ends}")
    stuck = span.last is None and layout.story.finding.oracle == "deadlock"
    endless = " endless" if stuck else ""
    return (
        f'<rect class="{kind}{endless}" x="{x}" y="{top:.0f}" width="6" '
        f'height="{max(bottom - top, 8):.0f}" rx="2"><title>{title}</title></rect>'
    )


def _conflict(layout: Layout) -> Iterator[str]:
    conflict = layout.story.conflict
    if conflict is None:
        return
    first, second = (layout.story.row_of(i) for i in (conflict.first, conflict.second))
    if first is None or second is None or first is second:
        return
    x1, y1 = layout.x(first.actor), layout.middle[first.number]
    x2, y2 = layout.x(second.actor), layout.middle[second.number]
    yield f'<path class="conflict" d="M{x1} {y1:.0f}L{x2} {y2:.0f}"/>'


def _arrows(layout: Layout) -> Iterator[str]:
    before: Row | Gap | None = None
    for item in layout.story.shown:
        if isinstance(item, Row) and item.deviates:
            yield _break(layout, item)
        elif before is not None:
            last = before.rows[-1] if isinstance(before, Gap) else before
            first = item.rows[0] if isinstance(item, Gap) else item
            if last.actor != first.actor:
                yield _handoff(layout, last, first)
        before = item


def _handoff(layout: Layout, last: Row, first: Row) -> str:
    x1, y1 = layout.x(last.actor), layout.middle[last.number] + 11
    x2, y2 = layout.x(first.actor), layout.middle[first.number] - 11
    middle = (y1 + y2) / 2
    return (
        f'<path class="handoff" d="M{x1} {y1:.0f}V{middle:.0f}H{x2}V{y2:.0f}" '
        f'marker-end="url(#{layout.name}-handoff)"/>'
    )


def _break(layout: Layout, row: Row) -> str:
    """The arrow from the one that was stopped to the one that runs instead."""
    after = row.actor if row.after is None else row.after
    x1, x2, y2 = layout.x(after), layout.x(row.actor), layout.middle[row.number] - 11
    y = y2 - BAND / 2 + 1
    top = y - BAND / 2 - 2 if x1 != x2 else y
    start = x1 if x1 != x2 else x2 - 14
    label = min(x1, x2) + 12
    room = max((layout.width - label) // 7, 8)
    words = clip(_short(row), int(room))
    return (
        f'<g class="break"><title>{escape(deviation_words(layout.story, row))}</title>'
        f'<path d="M{start} {top:.0f}V{y:.0f}H{x2}V{y2:.0f}" '
        f'marker-end="url(#{layout.name}-break)"/>'
        f'<text x="{label}" y="{y - 5:.0f}">{escape(words)}</text></g>'
    )


def _short(row: Row) -> str:
    match row.deviation:
        case Deviation(kind="cancel"):
            return "cancelled"
        case Deviation(kind="task"):
            return "resumed out of turn"
        case Deviation(to=-1):
            return "time passes"
        case Deviation(kind="forced"):
            return "chosen after a wait"
        case _:
            return "preempted" if row.after is not None else "chosen"


# ------------------------------------------------------------------------- what happens


def _events(layout: Layout) -> Iterator[str]:
    for item in layout.story.shown:
        yield _folded(layout, item) if isinstance(item, Gap) else _event(layout, item)


def _folded(layout: Layout, gap: Gap) -> str:
    row = gap.rows[0]
    x, y = layout.x(row.actor), layout.middle[row.number]
    words = escape(gap_words(layout.story, gap))
    short = escape(clip(f"⋯ {len(gap.rows)} lines", 18))
    return (
        f'<a class="event folded" href="#{layout.name}-r{row.number}" aria-label="{words}">'
        f"<title>{words}</title>{_hit(layout, row)}"
        f'<text x="{x + BESIDE}" y="{y + 4:.0f}">{short}</text></a>'
    )


def _event(layout: Layout, row: Row) -> str:
    story = layout.story
    x, y = layout.x(row.actor), layout.middle[row.number]
    said = "; ".join(act.words for act in acts(story, row))
    place = f"{where(story, row)} {one_line(row.source)}".strip()
    name = one_line(story.name(row.actor))
    title = escape("\n".join(filter(None, [f"{row.number}  {name}", place, said])))
    spoken = escape(", ".join(filter(None, [f"{row.number}: {name}", said, place])))
    label = escape(clip(_label(story, row), (layout.lane - STEM - BESIDE) // GLYPH))
    kind = "event at-fault" if _letter(story, row) else "event"
    return (
        f'<a class="{kind} {layout.colour(row.actor)}" href="#{layout.name}-r{row.number}" '
        f'aria-label="{spoken}"><title>{title}</title>{_hit(layout, row)}'
        f'<text class="number" x="{GUTTER - 10}" y="{y + 4:.0f}">{row.number}</text>'
        f"{_mark(story, row, x, y)}"
        f'<text x="{x + BESIDE}" y="{y + 4:.0f}">{label}</text></a>'
    )


def _hit(layout: Layout, row: Row) -> str:
    """What the pointer can hit: the whole cell."""
    left = layout.x(row.actor) - STEM + 2
    top = layout.middle[row.number] - ROW / 2 + 2
    return (
        f'<rect class="hit" x="{left}" y="{top:.0f}" width="{layout.lane - 4}" '
        f'height="{ROW - 4}" rx="4"/>'
    )


def _letter(story: Story, row: Row) -> str:
    modes = [a.mode for step in row.steps for a in step.accesses if a.location in story.focus]
    return "".join(LETTERS[mode] for mode in dict.fromkeys(modes))


def _mark(story: Story, row: Row, x: int, y: float) -> str:
    if letter := _letter(story, row):
        return (
            f'<circle class="mark" cx="{x}" cy="{y:.0f}" r="10"/>'
            f'<text class="letter" x="{x}" y="{y + 4:.0f}">{letter[:2]}</text>'
        )
    if any(step.kind not in {"run", "start", "end", "note"} for step in row.steps):
        return f'<rect class="mark" x="{x - 5}" y="{y - 5:.0f}" width="10" height="10" rx="2"/>'
    return f'<circle class="mark" cx="{x}" cy="{y:.0f}" r="5"/>'


def _label(story: Story, row: Row) -> str:
    told = acts(story, row)
    line = f"{row.place.line}  " if row.place else ""
    at_fault = [f"{act.verb} {act.value or act.object}" for act in told if act.tone == "focus"]
    if at_fault:
        return line + ", ".join(at_fault)
    if told:
        return line + f"{told[0].verb.replace(' for ever', '')} {told[0].object}".strip()
    return line + one_line(row.source)
