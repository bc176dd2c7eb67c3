"""Every test leaves the process as it found it: no request, no open block, no loop."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from lmi_runtime.context import peek
from lmi_runtime.integrations.scopes import PROCESS, holder


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """What is set where modules are imported is everybody's: no test may look like a request."""
    assert holder() is PROCESS
    yield
    assert peek() is None, "the test entered a request in its own context"
    assert holder() is PROCESS


@pytest.fixture
def powertools_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> pytest.LogCaptureFixture:
    """What powertools itself says, which it keeps from the root logger."""
    monkeypatch.setattr(logging.getLogger("aws_lambda_powertools"), "propagate", True)
    return caplog
