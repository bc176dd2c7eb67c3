"""A local Lambda Managed Instances environment in pure Python, for tests and laptops."""

from lmi_runtime.emulator.answers import Answer
from lmi_runtime.emulator.audit import Violation
from lmi_runtime.emulator.facts import Clock, EmulatorStatistics
from lmi_runtime.emulator.faults import Fault, FaultKind, FaultScript
from lmi_runtime.emulator.options import EmulatorOptions
from lmi_runtime.emulator.server import Emulator

__all__ = [
    "Answer",
    "Clock",
    "Emulator",
    "EmulatorOptions",
    "EmulatorStatistics",
    "Fault",
    "FaultKind",
    "FaultScript",
    "Violation",
]
