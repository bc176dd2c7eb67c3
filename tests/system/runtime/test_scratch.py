"""Files in /tmp, which all requests of all workers share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.system.runtime.environments import Embedded

pytestmark = pytest.mark.system

Start = Callable[..., Any]


def test_a_request_has_a_directory_while_it_lasts_and_fixed_names_are_told_of(
    start: Start, tmp_path: Path
) -> None:
    runtime = start(Embedded, "scratch.main", slots=2, vcpus=1, ready=2)
    event = {"path": str(tmp_path / "fixed.txt")}

    replies = [runtime.call_soon(event), runtime.call_soon(event)]
    directories = [Path(json.loads(reply.result().body)) for reply in replies]

    assert len(set(directories)) == 2
    assert not any(directory.exists() for directory in directories)
    line = runtime.wait_for(level="WARNING", logger="lmi_runtime.caches.fixed_names")
    assert event["path"] in line["message"]
