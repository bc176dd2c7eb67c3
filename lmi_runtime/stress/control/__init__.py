"""Real threads and event loops that do what a schedule says, in virtual time."""

from __future__ import annotations

from lmi_runtime.stress.control.execute import execute
from lmi_runtime.stress.control.locks import INTERNAL
from lmi_runtime.stress.control.patches import controlled
from lmi_runtime.stress.control.uncontrolled import UncontrolledIO

__all__ = ["INTERNAL", "UncontrolledIO", "controlled", "execute"]
