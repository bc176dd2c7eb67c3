"""Which schedules to run, in which order; how to make a failure small and how to name it."""

from __future__ import annotations

from lmi_runtime.stress.search.chooser import Pct, RandomWalk, Scripted
from lmi_runtime.stress.search.events import search_events
from lmi_runtime.stress.search.facts import (
    Execute,
    Found,
    Progress,
    SearchResult,
    SearchSettings,
)
from lmi_runtime.stress.search.minimise import minimise
from lmi_runtime.stress.search.portfolio import search
from lmi_runtime.stress.search.replay import Replayer, make_replay, reproduce
from lmi_runtime.stress.search.store import ExampleStore
from lmi_runtime.stress.search.tokens import Replay, TokenError, decode, encode

__all__ = [
    "ExampleStore",
    "Execute",
    "Found",
    "Pct",
    "Progress",
    "RandomWalk",
    "Replay",
    "Replayer",
    "Scripted",
    "SearchResult",
    "SearchSettings",
    "TokenError",
    "decode",
    "encode",
    "make_replay",
    "minimise",
    "reproduce",
    "search",
    "search_events",
]
