"""Temporary files of requests, in the runtime as it runs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.system.runtime.environments import Embedded, Runtime

pytestmark = pytest.mark.system

Share = Callable[..., Any]


@pytest.fixture
def runtime(share: Share) -> Runtime:
    started: Runtime = share(Embedded, "scratch.main", slots=2, ready=2)
    return started


def test_a_requests_directory_is_gone_when_its_answer_is_there(runtime: Runtime) -> None:
    paths = [Path(str(runtime.call({"large": large}).json())) for large in (False, True)]

    assert len({path.parent for path in paths}) == 1
    assert len(set(paths)) == 2
    assert not any(path.exists() for path in paths)


def test_a_handler_that_fails_leaves_nothing(runtime: Runtime) -> None:
    answer: Any = runtime.call({"fail": True}).json()

    assert answer["errorType"] == "ZeroDivisionError"
    assert Path(answer["errorMessage"]).is_absolute()
    assert not Path(answer["errorMessage"]).exists()


def test_requests_in_flight_together_that_write_one_path_are_warned_of(
    runtime: Runtime, tmp_path: Path
) -> None:
    path = Path("/tmp") / f"fixed-{tmp_path.name}-{tmp_path.parent.name}"
    try:
        with ThreadPoolExecutor(2) as callers:
            replies = list(callers.map(lambda _: runtime.call({"fixed": str(path)}), range(2)))
    finally:
        path.unlink(missing_ok=True)

    assert [reply.error_type for reply in replies] == [None, None]
    warning = (
        f"Two requests that are served at the same time write {path}. Give each its own: "
        "lmi_runtime.request_tmpdir(); or let one at a time: lmi_runtime.locked_file()."
    )
    assert runtime.wait_for(message=warning)
