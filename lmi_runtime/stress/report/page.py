"""The report as one HTML file: no network, no inline handlers, readable without scripts."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import cache
from html import escape
from importlib.resources import files

from lmi_runtime.stress.model import Finding, Report, Verdict
from lmi_runtime.stress.report.acts import acts, deviation_words, gap_words, unordered, where
from lmi_runtime.stress.report.characters import clip, compact_json, one_line, visible
from lmi_runtime.stress.report.picture import COLOURS, picture
from lmi_runtime.stress.report.story import Gap, Row, Story, tell
from lmi_runtime.stress.report.words import (
    builds,
    claim,
    effort,
    heading,
    limits,
    replay_command,
    size,
    summary,
    verdict_words,
)

__all__ = ["html"]

MAX_EVENT = 2_000
MAX_SOURCE = 300
MAX_FOLDED = 200
"""Rows of one gap that can be unfolded; the rest is in the JSON form."""

LEGEND = (
    ("mark", "●", "touches {}: R reads, W writes, U both at once"),
    ("bar", "▮", "a lock is held"),
    ("dots", "┆", "waits"),
    ("break", "➜", "the scheduler left the default"),
    ("conflict", "╌", "two accesses that nothing orders"),
)


def html(report: Report) -> str:
    """
    The whole report as a page that can be mailed, archived or attached to a bug report.

    Its own content security policy forbids everything but its own style and script.
    """
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    title = escape(clip(summary(report), 120))
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{title}</title>",
            '<link rel="icon" href="data:,">',
            f"<style>{style}</style>",
            "</head>",
            f'<body class="{report.verdict.value}">',
            *_body(report),
            f"<script>{script}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )


@cache
def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _said(text: str) -> str:
    return escape(visible(text))


def _prose(text: str) -> str:
    """With what stands between backquotes as code."""
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", _said(text))


def _code(text: str) -> str:
    return f"<code>{escape(one_line(text))}</code>"


def _body(report: Report) -> Iterator[str]:
    yield "<header>"
    yield f'<p class="verdict">{escape(verdict_words(report))}</p>'
    yield f"<h1>{_code(report.subject)}</h1>"
    yield "</header>"
    yield "<main>"
    for number, finding in enumerate(report.findings):
        yield from _finding(finding, f"f{number}", len(report.findings), number + 1)
    yield from _coverage(report)
    yield "</main>"


def _coverage(report: Report) -> Iterator[str]:
    yield '<section class="coverage" aria-labelledby="tried">'
    yield '<h2 id="tried">What was tried</h2>'
    yield _list(claim(report), "claim")
    yield f'<p class="effort">{_said(effort(report))}</p>'
    if report.verdict is not Verdict.FAILED:
        yield f'<p class="effort">{escape(limits(report).capitalize())}.</p>'
    if report.coverage.uncontrolled:
        yield "<h3>Not under control</h3>"
        yield _list(report.coverage.uncontrolled, "uncontrolled")
    if report.notes:
        yield "<h3>Notes</h3>"
        yield _list(report.notes, "notes")
    yield "</section>"


def _list(sentences: Iterable[str], kind: str) -> str:
    items = "".join(f"<li>{_said(sentence)}</li>" for sentence in sentences)
    return f'<ul class="{kind}">{items}</ul>'


# ------------------------------------------------------------------------- a finding


def _finding(finding: Finding, name: str, count: int, number: int) -> Iterator[str]:
    story = tell(finding)
    kind = "warning" if finding.warning else "failure"
    of = f" {number} of {count}" if count > 1 else ""
    yield f'<section class="finding {kind}" aria-labelledby="{name}">'
    yield (
        f'<p class="oracle"><b>{kind.capitalize()}{of}</b> {_code(finding.oracle)} '
        f"{_said(heading(finding))}</p>"
    )
    yield f'<h2 id="{name}">{_prose(finding.sentence)}</h2>'
    if finding.hint:
        yield f'<p class="mend"><b>Usual mend</b> {_prose(finding.hint)}</p>'
    yield f"<dl>{''.join(_facts(story))}</dl>"
    if command := replay_command(finding):
        yield f'<p class="replay"><code>{escape(command)}</code></p>'
    if story.rows:
        yield from _timeline(story, name)
    if finding.traceback:
        said = _said(finding.traceback)
        yield f"<details><summary>Traceback</summary><pre>{said}</pre></details>"
    if finding.events:
        yield from _events(finding)
    yield "</section>"


def _facts(story: Story) -> Iterator[str]:
    finding = story.finding
    if finding.object_path:
        yield f'<dt>Shared object</dt><dd class="object">{_code(finding.object_path)}</dd>'
    if finding.cycle:
        yield f'<dt>Cycle</dt><dd class="cycle">{_list(finding.cycle, "cycle")}</dd>'
    if conflict := unordered(story):
        yield f"<dt>Conflict</dt><dd>{_said(conflict)}</dd>"
    yield f"<dt>Happens on</dt><dd>{_said(builds(finding))}</dd>"
    yield f"<dt>Smallest form</dt><dd>{_said(size(finding))}</dd>"
    if story.files():
        paths = "<br>".join(_code(file) for file in story.files())
        yield f"<dt>Source</dt><dd>{paths}</dd>"


def _events(finding: Finding) -> Iterator[str]:
    yield '<details open><summary>Events</summary><ol class="events">'
    for event in finding.events:
        yield f"<li>{_code(clip(compact_json(event), MAX_EVENT))}</li>"
    yield "</ol></details>"


# ------------------------------------------------------------------------- the steps


def _timeline(story: Story, name: str) -> Iterator[str]:
    lanes = "narrow" if len(story.actors) < 4 else "broad"
    yield f'<div class="story {lanes}">'
    yield "<figure>"
    yield f'<div class="scroll">{picture(story, name)}</div>'
    yield f"<figcaption>{''.join(_legend(story))}</figcaption>"
    yield "</figure>"
    yield '<ol class="steps" aria-label="Steps in the order in which they took place">'
    for item in story.shown:
        yield from _gap(story, item, name) if isinstance(item, Gap) else _step(story, item, name)
    yield "</ol>"
    yield "</div>"


def _legend(story: Story) -> Iterator[str]:
    wanted = {
        "mark": story.focus,
        "bar": story.held,
        "dots": story.waits,
        "break": [row for row in story.rows if row.deviates],
        "conflict": story.conflict,
    }
    fault = story.finding.object_path or "the object at fault"
    for kind, sign, words in LEGEND:
        if wanted[kind]:
            said = words.replace("{}", _code(fault))
            yield f'<span class="key {kind}"><i aria-hidden="true">{sign}</i> {said}</span>'


def _gap(story: Story, gap: Gap, name: str) -> Iterator[str]:
    first = gap.rows[0]
    yield f'<li class="gap {_colour(story, first)}" id="{name}-r{first.number}">'
    yield f"<details><summary>… {escape(gap_words(story, gap))} …</summary><ol>"
    for row in gap.rows[:MAX_FOLDED]:
        yield from _step(story, row, "")
    if len(gap.rows) > MAX_FOLDED:
        yield f"<li>… and {len(gap.rows) - MAX_FOLDED:,} more, in the JSON form</li>"
    yield "</ol></details></li>"


def _colour(story: Story, row: Row) -> str:
    numbers = [actor.number for actor in story.actors]
    return f"a{numbers.index(row.actor) % COLOURS}"


def _step(story: Story, row: Row, name: str) -> Iterator[str]:
    """One row. Without `name` it is inside a gap, where no link leads."""
    identity = f' id="{name}-r{row.number}"' if name else ""
    fault = any(a.location in story.focus for step in row.steps for a in step.accesses)
    kinds = f"step {_colour(story, row)}"
    kinds += " at-fault" if fault else "" if row.source else " brief"
    if row.deviates:
        yield f'<li class="break">{escape(deviation_words(story, row))}</li>'
    yield f'<li class="{kinds}"{identity}>'
    yield f'<span class="number">{row.number}</span> '
    yield f'<span class="who">{escape(one_line(story.name(row.actor)))}</span> '
    if row.place:
        function = escape(one_line(row.place.function))
        yield f'<span class="where">{escape(where(story, row))} {function}</span>'
    if row.source:
        goes_on = '<i title="goes on in the middle of this line">… </i>' if row.goes_on else ""
        yield f'<pre class="source">{goes_on}{escape(clip(one_line(row.source), MAX_SOURCE))}</pre>'
    if told := acts(story, row):
        yield f'<ul class="acts">{"".join(_act(*act) for act in told)}</ul>'
    yield "</li>"


def _act(verb: str, subject: str, value: str, tone: str) -> str:
    parts = [escape(verb), f"<code>{escape(subject)}</code>" if subject else "", escape(value)]
    return f'<li class="{tone}">{" ".join(filter(None, parts))}</li>'
