"""A Lambda handler as something to explore: fresh modules for each run, and every oracle on."""

from __future__ import annotations

from lmi_runtime.stress.subject.facts import ORACLES, Delivery, Mode, Subject
from lmi_runtime.stress.subject.program import HandlerProgram
from lmi_runtime.stress.subject.searching import Answer, search_handler
from lmi_runtime.stress.subject.stage import Stage

__all__ = [
    "ORACLES",
    "Answer",
    "Delivery",
    "HandlerProgram",
    "Mode",
    "Stage",
    "Subject",
    "search_handler",
]
