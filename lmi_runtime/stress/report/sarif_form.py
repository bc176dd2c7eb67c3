"""The report as SARIF 2.1.0: for code review tools, with the interleaving as thread flows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from lmi_runtime.stress.model import Finding, Place, Report, Verdict
from lmi_runtime.stress.report.acts import acts, deviation_words, unordered
from lmi_runtime.stress.report.characters import one_line, visible
from lmi_runtime.stress.report.story import Row, Story, tell
from lmi_runtime.stress.report.words import (
    ORACLES,
    Oracle,
    builds,
    claim,
    effort,
    replay_command,
    size,
    summary,
)

__all__ = ["sarif"]

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
COVERAGE = "coverage"
NOTE = "note"
OTHER_RULES = {
    COVERAGE: Oracle(
        "The search proves nothing",
        "Something was not under the scheduler's control, or nothing could be tried.",
        "See the notifications for what escaped control.",
    ),
    NOTE: Oracle(
        "Worth knowing",
        "Seen on the way; no verdict by itself.",
        "",
    ),
}
IMPORTANCE = ("unimportant", "unimportant", "important", "essential", "essential")

Object = dict[str, Any]


def sarif(report: Report) -> Object:
    """
    The report as a SARIF 2.1.0 log with one run.

    A finding is a result of the level ``error``, a warning one of the level ``warning``, a note
    one of the level ``note``. A search that proves nothing is a result of the kind ``open``,
    and what escaped control a notification: no consumer can take it for a pass.
    """
    results = [_result(finding) for finding in report.findings]
    results += [_remark(NOTE, note, level="note") for note in report.notes]
    if report.verdict is Verdict.INCONCLUSIVE:
        results.append(_remark(COVERAGE, summary(report), level="none", kind="open"))
    names = list(dict.fromkeys(result["ruleId"] for result in results))
    for result in results:
        result["ruleIndex"] = names.index(result["ruleId"])
    run = {
        "tool": {"driver": {"name": "lmi stress", "rules": [_rule(name) for name in names]}},
        "invocations": [_invocation(report)],
        "results": results,
        "columnKind": "unicodeCodePoints",
        "properties": {
            "subject": one_line(report.subject),
            "verdict": report.verdict.value,
            "claim": claim(report),
            "effort": effort(report),
        },
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _text(text: str) -> Object:
    return {"text": visible(text) or "?"}


def _rule(name: str) -> Object:
    oracle = ORACLES.get(name) or OTHER_RULES.get(name) or Oracle(name, name, "")
    level = {NOTE: "note", COVERAGE: "none"}.get(name, "error")
    return {
        "id": one_line(name),
        "shortDescription": _text(oracle.title),
        "fullDescription": _text(oracle.meaning),
        "help": _text(f"{oracle.meaning} {oracle.mend}".strip()),
        "defaultConfiguration": {"level": level},
    }


def _invocation(report: Report) -> Object:
    return {
        "executionSuccessful": report.coverage.schedules > 0,
        "toolExecutionNotifications": [
            {"level": "warning", "message": _text(f"Not under control: {sentence}")}
            for sentence in report.coverage.uncontrolled
        ],
    }


def _remark(rule: str, sentence: str, *, level: str, kind: str = "fail") -> Object:
    return {"ruleId": rule, "level": level, "kind": kind, "message": _text(sentence)}


# ------------------------------------------------------------------------- a finding


def _result(finding: Finding) -> Object:
    story = tell(finding)
    at_fault = _at_fault(story)
    where = at_fault.place if at_fault else None
    result: Object = {
        "ruleId": one_line(finding.oracle),
        "level": "warning" if finding.warning else "error",
        "kind": "fail",
        "message": _text(" ".join(filter(None, _message(finding)))),
        "partialFingerprints": {"lmiStress/v1": _fingerprint(finding, where)},
        "properties": {
            "builds": list(map(one_line, finding.builds)),
            "granularity": finding.granularity.value,
            "preemptions": finding.preemptions,
            "minimal": finding.minimal,
            "objectPath": one_line(finding.object_path),
            "replay": replay_command(finding),
            "cycle": list(map(one_line, finding.cycle)),
        },
    }
    if at_fault:
        result["locations"] = [_location(story, at_fault, finding.sentence)]
    if related := list(_related(story)):
        result["relatedLocations"] = related
    if story.rows:
        result["codeFlows"] = [_flow(story)]
    return result


def _message(finding: Finding) -> Iterator[str]:
    yield _sentence(finding.sentence)
    if finding.object_path:
        yield f"Shared object: {finding.object_path}."
    yield f"Happens on {builds(finding)}; {size(finding)}."
    yield finding.hint and f"Usual mend: {_sentence(finding.hint)}"
    command = replay_command(finding)
    yield command and f"Replay: {command}"


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _fingerprint(finding: Finding, place: Place | None) -> str:
    """The same while the failure is the same, wherever its lines move."""
    function = f"{PurePosixPath(place.file).name}:{place.function}" if place else ""
    facts = "\n".join([finding.oracle, finding.object_path, function])
    return hashlib.sha256(facts.encode("utf-8", "backslashreplace")).hexdigest()[:32]


def _at_fault(story: Story) -> Row | None:
    """The line to point at: where it is written against the order, else the last one known."""
    if story.conflict and (row := story.row_of(story.conflict.second)) and row.place:
        return row
    placed = [row for row in story.rows if row.place]
    touching = [row for row in placed if any(a.location in story.focus for a in _all(row))]
    return next(reversed(touching or placed), None)


def _all(row: Row) -> Iterator[Any]:
    return (access for step in row.steps for access in step.accesses)


def _related(story: Story) -> Iterator[Object]:
    if story.conflict is None:
        return
    for index in (story.conflict.first, story.conflict.second):
        row = story.row_of(index)
        if row and row.place:
            said = f"{story.name(row.actor)}: {'; '.join(act.words for act in acts(story, row))}"
            yield {"id": row.number, **_location(story, row, said)}


def _location(story: Story, row: Row, message: str) -> Object:
    location: Object = {"message": _text(message)}
    if place := row.place:
        region: Object = {"startLine": max(place.line, 1)}
        if row.source:
            region["snippet"] = _text(row.source)
        location["physicalLocation"] = {
            "artifactLocation": {"uri": _uri(place.file)},
            "region": region,
        }
        location["logicalLocations"] = [
            {"fullyQualifiedName": one_line(place.function) or "?", "kind": "function"}
        ]
    return location


def _uri(file: str) -> str:
    path = quote(file.replace("\\", "/").encode("utf-8", "backslashreplace"))
    return f"file://{path}" if path.startswith("/") else path


def _flow(story: Story) -> Object:
    flow: Object = {
        "threadFlows": [
            {
                "id": str(actor.number),
                "message": _text(one_line(actor.name)),
                "locations": [_step(story, row) for row in story.rows if row.actor == actor.number],
            }
            for actor in story.actors
        ]
    }
    if conflict := unordered(story):
        flow["message"] = _text(conflict)
    return flow


def _step(story: Story, row: Row) -> Object:
    said = [f"({deviation_words(story, row)})"] if row.deviates else []
    said += [act.words for act in acts(story, row)] or ["runs"]
    return {
        "location": _location(story, row, f"{story.name(row.actor)}: {'; '.join(said)}"),
        "executionOrder": row.number,
        "importance": IMPORTANCE[row.telling],
        "kinds": sorted({_kind(step.kind) for step in row.steps}),
    }


def _kind(kind: str) -> str:
    return {"acquire": "acquire", "release": "release", "start": "enter", "end": "exit"}.get(
        kind, "memory" if kind == "run" else kind
    )
