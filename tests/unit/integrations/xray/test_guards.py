"""An SDK that looks different is left as it is, and named."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aws_xray_sdk.core import recorder

from lmi_runtime.integrations.patching import Swaps, Unexpected
from lmi_runtime.integrations.xray.contexts import isolate_async_context
from lmi_runtime.integrations.xray.recorder import isolate_recorder


class Recorder(recorder.AWSXRayRecorder):
    """One of another version."""

    context = None


class Streaming(recorder.AWSXRayRecorder):
    def stream_subsegments(this, segment: Any) -> None:
        """With other arguments."""


@pytest.mark.parametrize("kind", [Recorder, Streaming])
def test_a_recorder_of_another_kind_is_unexpected(kind: type) -> None:
    with pytest.raises(Unexpected, match=kind.__name__):
        isolate_recorder(SimpleNamespace(AWSXRayRecorder=kind), Swaps())  # type: ignore[arg-type]


class AsyncContext:
    """Derived from a context that was left as it was."""


def test_async_contexts_are_not_changed_alone() -> None:
    """They would lose their own storage, and get no other."""
    with pytest.raises(Unexpected, match="as it was"):
        isolate_async_context(SimpleNamespace(AsyncContext=AsyncContext), Swaps())  # type: ignore[arg-type]
