"""A local Lambda Managed Instances environment in pure Python, for tests and laptops."""

from lmi_runtime.emulator.answers import Answer
from lmi_runtime.emulator.audit import Violation
from lmi_runtime.emulator.facts import Clock, EmulatorStatistics
from lmi_runtime.emulator.faults import Fault, FaultKind, FaultScript
from lmi_runtime.emulator.lines import LogLine
from lmi_runtime.emulator.load import LoadOptions, LoadProgress, LoadReport, run_load
from lmi_runtime.emulator.options import EmulatorOptions
from lmi_runtime.emulator.process import LocalEnvironment
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
    "LoadOptions",
    "LoadProgress",
    "LoadReport",
    "LocalEnvironment",
    "LogLine",
    "Violation",
    "run_load",
]
