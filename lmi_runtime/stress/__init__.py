"""
Find the race in a handler, deterministically, and show it in its smallest form.

What is here is imported when it is first used: a test file that only declares a stress test
loads neither the scheduler nor Hypothesis.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmi_runtime.stress import events
    from lmi_runtime.stress.control import controlled
    from lmi_runtime.stress.declare import reproduce_failure, stress_test
    from lmi_runtime.stress.exploring import explore
    from lmi_runtime.stress.failures import StressFailure, StressWarning
    from lmi_runtime.stress.model import Finding, Granularity, Report, Verdict
    from lmi_runtime.stress.search.tokens import TokenError
    from lmi_runtime.stress.tools import LyingLock, Sequencer

__all__ = [
    "Finding",
    "Granularity",
    "LyingLock",
    "Report",
    "Sequencer",
    "StressFailure",
    "StressWarning",
    "TokenError",
    "Verdict",
    "controlled",
    "events",
    "explore",
    "reproduce_failure",
    "stress_test",
]

_HOME = {
    "Finding": "model",
    "Granularity": "model",
    "LyingLock": "tools",
    "Report": "model",
    "Sequencer": "tools",
    "StressFailure": "failures",
    "StressWarning": "failures",
    "TokenError": "search.tokens",
    "Verdict": "model",
    "controlled": "control",
    "events": "events",
    "explore": "exploring",
    "reproduce_failure": "declare",
    "stress_test": "declare",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{home}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(__name__):
            raise
        raise ImportError(
            f"{__name__}.{name} needs {error.name}: pip install 'lmi_runtime[stress]'"
        ) from error
    value = module if name == "events" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
