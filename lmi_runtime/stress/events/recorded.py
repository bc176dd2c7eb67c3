"""Events that someone recorded, from a file or a list."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from lmi_runtime.errors import ConfigurationError

__all__ = ["load_events", "recorded"]

_EXPECTED = 'expected one event, a list of events, or {"events": [...]}'


def recorded(source: str | os.PathLike[str] | Sequence[Any]) -> SearchStrategy[Any]:
    """
    Draw one of the recorded events, the first being the simplest.

    Args:
        source: Path of a JSON file that holds one event, a list of events or
            ``{"events": [...]}``; or the events themselves.

    Raises:
        ConfigurationError: The file cannot be read or holds no events; says where and what was
            expected.
    """
    if isinstance(source, str | os.PathLike):
        events = load_events(source)
    else:
        events = list(source)
        for index, event in enumerate(events):
            _check(event, f"events[{index}]")
        if not events:
            raise ConfigurationError("no events: the list is empty")
    # A handler may change its event; the recording stays as it was.
    return st.sampled_from(range(len(events))).map(lambda index: copy.deepcopy(events[index]))


def load_events(path: str | os.PathLike[str]) -> list[Any]:
    """
    Read recorded events from a JSON file.

    Args:
        path: The file: one event, a list of events, or ``{"events": [...]}``.

    Returns:
        At least one event.

    Raises:
        ConfigurationError: The file cannot be read or holds no events; says where and what was
            expected.
    """
    content = _parse(Path(path))
    events = content
    if isinstance(content, dict):
        # An event of the user's own may have a field of that name among others.
        events = content["events"] if list(content) == ["events"] else [content]
    if not isinstance(events, list):
        what = "'events' is" if isinstance(content, dict) else "it is"
        raise ConfigurationError(f"{path}: {_EXPECTED}, but {what} {_kind(events)}")
    if not events:
        raise ConfigurationError(f"{path}: {_EXPECTED}, but there are no events in it")
    return events


def _parse(path: Path) -> Any:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        where = f"{path}: byte {error.start}"
        raise ConfigurationError(f"{where}: not UTF-8; {_EXPECTED}, as JSON") from error
    if not text.strip():
        raise ConfigurationError(f"{path}: the file is empty; {_EXPECTED}")
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}:{error.colno}"
        raise ConfigurationError(f"{where}: not JSON: {error.msg}; {_EXPECTED}") from error
    except _NotJsonError as error:
        line = text[: text.find(str(error))].count("\n") + 1
        raise ConfigurationError(f"{path}:{line}: not JSON: {error}; {_EXPECTED}") from error
    except RecursionError as error:
        raise ConfigurationError(f"{path}: nested too deeply; {_EXPECTED}") from error


class _NotJsonError(ValueError):
    """Python's parser would take it, Lambda does not send it."""


def _refuse(constant: str) -> NoReturn:
    raise _NotJsonError(constant)


def _check(event: object, where: str) -> None:
    try:
        json.dumps(event, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{where}: an event is a JSON value: {error}") from error


def _kind(value: object) -> str:
    names = {str: "a string", int: "a number", float: "a number", bool: "a boolean"}
    names |= {dict: "an object", list: "a list"}
    return names.get(type(value), "null")
