"""What holds of every report, whatever a program did and whatever its data says."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser
from typing import get_args

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lmi_runtime.stress.model import (
    Access,
    ActorInfo,
    Conflict,
    Coverage,
    Deviation,
    Finding,
    Granularity,
    Location,
    Place,
    Report,
    Step,
    StepKind,
    Verdict,
)
from lmi_runtime.stress.report import from_json, html, sarif, summary, text, to_json
from lmi_runtime.stress.report.characters import width_of
from lmi_runtime.stress.report.story import Gap, Row, tell
from tests.support.stress_reports import HOSTILE_TEXT

FEWER = settings(
    max_examples=settings().max_examples // 5,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
"""Whole reports take long to draw, and minutes to shrink."""

WORDS = st.one_of(
    st.sampled_from(["", "x", "self.n", HOSTILE_TEXT, "库存 = 库存 - 1", "é" * 70, "a " * 60]),
    st.text(alphabet=st.characters(), max_size=12),
)
LOCATIONS = st.builds(
    Location,
    st.integers(0, 2),
    st.sampled_from([None, "n"]),
    st.sampled_from(["app.N", "app.N['k']", HOSTILE_TEXT]),
)
PLACES = st.builds(
    Place,
    st.sampled_from(["/srv/a/app.py", "/srv/b/app.py", "app.py", ""]) | WORDS,
    st.integers(1, 4),
    st.sampled_from(["handler", "C.m"]) | WORDS,
    st.integers(-1, 3),
    WORDS,
)
STEPS = st.builds(
    Step,
    st.just(0),
    st.integers(0, 3),
    st.sampled_from(["run", "run", "run", *get_args(StepKind)]),
    st.none() | PLACES,
    WORDS,
    st.lists(
        st.builds(Access, st.sampled_from(["read", "write", "update"]), LOCATIONS, WORDS),
        max_size=8,
    ).map(tuple),
    st.sampled_from(["", "lock", "other"]) | WORDS,
    st.integers(0, 2),
    WORDS,
    st.booleans(),
    st.floats(0, 9),
)
JSONLIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
DEVIATIONS = st.builds(
    Deviation,
    st.sampled_from(["preempt", "forced", "task", "cancel"]),
    st.integers(0, 3),
    st.integers(0, 9),
    st.integers(-1, 3),
)


@st.composite
def findings(draw: st.DrawFn) -> Finding:
    drawn = draw(st.lists(STEPS, max_size=20)) * draw(st.sampled_from([1, 1, 1, 6]))
    steps = tuple(replace(step, index=index) for index, step in enumerate(drawn))
    indices = st.integers(0, max(len(steps), 1))  # may point beyond the last
    names = draw(st.lists(WORDS, max_size=4))
    return Finding(
        draw(st.sampled_from(["isolation", "deadlock", "serial"]) | WORDS),
        draw(WORDS),
        draw(WORDS),
        draw(st.sampled_from(Granularity)),
        draw(st.sampled_from([("gil", "free-threaded"), ("free-threaded",), ()])),
        tuple(draw(st.lists(DEVIATIONS, max_size=4))),
        draw(st.integers(0, 3)),
        draw(st.booleans()),
        draw(WORDS),
        tuple(draw(st.lists(JSONLIKE, max_size=3))),
        tuple(ActorInfo(number, name, "thread") for number, name in enumerate(names)),
        steps,
        tuple(draw(st.lists(st.builds(Conflict, LOCATIONS, indices, indices), max_size=2))),
        draw(st.sampled_from(["", "app.N", "elsewhere"]) | WORDS),
        tuple(draw(st.lists(WORDS, max_size=2))),
        draw(WORDS),
        draw(st.booleans()),
    )


REPORTS = st.builds(
    Report,
    WORDS,
    st.sampled_from(Verdict),
    st.lists(findings(), max_size=2).map(tuple),
    st.builds(
        Coverage,
        st.integers(0, 3),
        st.integers(-1, 3),
        st.dictionaries(st.sampled_from(Granularity), st.integers(-1, 3)),
        st.integers(0, 50),
        st.integers(0, 3),
        st.dictionaries(WORDS, st.integers(0, 9), max_size=2),
        st.sampled_from(["", "failure", "exhausted", "budget", "uncontrolled"]),
        st.lists(WORDS, max_size=2).map(tuple),
    ),
    st.lists(WORDS, max_size=2).map(tuple),
    st.floats(0, 100),
    st.integers(),
    WORDS,
    st.sampled_from(["threads", "async", "process"]),
)


def shows_nothing_a_reader_cannot_see(said: str) -> bool:
    return all(c == "\n" or unicodedata.category(c) not in {"Cc", "Cf", "Cs"} for c in said)


@FEWER
@given(REPORTS, st.integers(0, 160))
def test_text_fits_and_hides_nothing_and_a_summary_is_a_line(report: Report, width: int) -> None:
    said = text(report, width=width)

    assert shows_nothing_a_reader_cannot_see(said)
    lines = [
        line for line in said.split("\n") if not re.search(r"lmi stress --replay|replay=\"", line)
    ]
    head, *rest = lines  # the first line is as long as the subject's name
    assert max(map(width_of, rest)) <= max(width, 40)
    assert report.verdict.value.upper() in head
    in_short = summary(report)
    assert "\n" not in in_short and shows_nothing_a_reader_cannot_see(in_short)


@FEWER
@given(REPORTS)
def test_colour_adds_only_colour(report: Report) -> None:
    painted = text(report, colour=True)

    stripped = "".join(part.partition("m")[2] if n else part for n, part in enumerate(
        painted.split("\x1b[")
    ))  # fmt: skip
    assert [line.rstrip() for line in stripped.split("\n")] == text(report).split("\n")


@FEWER
@given(REPORTS)
def test_json_and_sarif_are_strict_and_json_comes_back_as_it_went(report: Report) -> None:
    json.dumps(sarif(report), allow_nan=False).encode()
    written = json.dumps(to_json(report), allow_nan=False)

    assert from_json(json.loads(written)) == report


@FEWER
@given(findings())
def test_every_step_is_in_the_story_once(finding: Finding) -> None:
    story = tell(finding)

    rows = [r for item in story.shown for r in (item.rows if isinstance(item, Gap) else [item])]
    assert tuple(rows) == story.rows
    assert tuple(step for row in rows for step in row.steps) == finding.steps


@FEWER
@given(findings())
def test_what_matters_most_is_never_folded(finding: Finding) -> None:
    story = tell(finding)

    shown = [item for item in story.shown if isinstance(item, Row)]
    deviating = [row for row in story.rows if row.deviates]
    last = {row.actor: row for row in story.rows}
    assert {row.number for row in [*deviating, *last.values()]} <= {row.number for row in shown}


VOID = {"meta", "link", "br", "!doctype"}
ALLOWED = VOID | {
    *("html", "head", "title", "style", "body", "script", "header", "main", "section", "details"),
    *("p", "b", "h1", "h2", "h3", "code", "dl", "dt", "dd", "ul", "ol", "li", "summary", "pre"),
    *("div", "figure", "figcaption", "span", "i", "svg", "defs", "marker", "path", "text"),
    *("line", "rect", "circle", "g", "a"),
}


class Page(HTMLParser):
    """Checks nesting and collects what a browser would act upon."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@FEWER
@given(REPORTS)
def test_page_holds_no_element_but_ours(report: Report) -> None:
    said = html(report)
    page = Page()
    page.feed(said)
    page.close()

    assert page.open == []
    assert {tag for tag, _ in page.seen} <= ALLOWED
    attributes = [(key, value or "") for _, found in page.seen for key, value in found.items()]
    assert not any(key.startswith("on") or key in {"style", "src"} for key, _ in attributes)
    assert all(value.startswith(("#", "data:,")) for key, value in attributes if key == "href")
    ids = [value for key, value in attributes if key == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for key, value in attributes if key == "href" and value[0] == "#"} <= set(ids)
    assert shows_nothing_a_reader_cannot_see(said)
