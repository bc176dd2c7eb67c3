"""The function's code comes in: the moment at which other people's libraries are met."""

from __future__ import annotations

from lmi_runtime.handlers import Target, load
from lmi_runtime.integrations.safety import arm
from lmi_runtime.model import Settings

__all__ = ["load_handler"]


def load_handler(settings: Settings) -> Target:
    """
    Import the handler that `settings` name; libraries that it imports are made safe on the way.

    Raises:
        LmiError: As `load` does.

    Thread safety: call once, before anything is served.
    """
    if settings.make_safe:
        arm()
    return load(settings.handler, settings.task_root)
