"""Recorded events: what a file may hold, and what is said of one that does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from lmi_runtime.errors import ConfigurationError
from lmi_runtime.stress.events import load_events, recorded


def written(folder: Path, content: Any) -> Path:
    path = folder / "events.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


@pytest.mark.parametrize(
    ("content", "events"),
    [
        ({"sku": "a"}, [{"sku": "a"}]),
        ([{"n": 1}, {"n": 2}], [{"n": 1}, {"n": 2}]),
        ({"events": [{"n": 1}]}, [{"n": 1}]),
        ({"events": [], "id": 1}, [{"events": [], "id": 1}]),
        ([1, "text", None], [1, "text", None]),
        (b'\xef\xbb\xbf{"n": 1}\r\n', [{"n": 1}]),
    ],
)
def test_files_hold_one_event_or_many(tmp_path: Path, content: Any, events: list[Any]) -> None:
    assert load_events(written(tmp_path, content)) == events


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "events.json: the file is empty; expected one event, a list of events, or"),
        (b'{"a": 1,\n "b": }', r"events.json:2:7: not JSON: Expecting value; expected one event"),
        (b'{"a": 1}\n{"a": 2}\n', "events.json:2:1: not JSON: Extra data"),
        (b'[\n {"a": NaN}]', "events.json:2: not JSON: NaN"),
        (b'{"a": "\xff"}', "events.json: byte 7: not UTF-8"),
        (b"[" * 200_000, "events.json: nested too deeply|events.json:1:200001: not JSON"),
        ([], "but there are no events in it"),
        ({"events": []}, "but there are no events in it"),
        ({"events": {"a": 1}}, "but 'events' is an object"),
        ({"events": None}, "but 'events' is null"),
        ("text", "but it is a string"),
        (12, "but it is a number"),
        (True, "but it is a boolean"),
        (None, "but it is null"),
    ],
)
def test_bad_files_are_told_where_and_what_was_expected(
    tmp_path: Path, content: Any, complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        recorded(written(tmp_path, content))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing\.json: cannot be read: No such file"):
        recorded(tmp_path / "missing.json")
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        recorded(str(tmp_path))


def test_the_first_event_is_the_simplest() -> None:
    strategy = recorded([{"n": 1}, {"n": 2}, {"n": 3}])

    assert find(strategy, lambda e: True, settings=settings(database=None)) == {"n": 1}
    assert find(strategy, lambda e: e["n"] > 1, settings=settings(database=None)) == {"n": 2}


@given(st.data())
def test_the_recording_stays_as_it_was(data: st.DataObject) -> None:
    events = [{"items": [1]}]
    strategy = recorded(events)

    data.draw(strategy)["items"].append(2)

    assert events == [{"items": [1]}]
    assert data.draw(strategy) == {"items": [1]}


@pytest.mark.parametrize(
    ("events", "complaint"),
    [
        ([], "the list is empty"),
        ([{}, {"a": {1}}], r"events\[1\]: an event is a JSON value: .*set"),
        ([float("nan")], r"events\[0\]: an event is a JSON value"),
    ],
)
def test_lists_hold_json_values(events: list[Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        recorded(events)
