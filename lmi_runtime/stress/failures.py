"""What a test fails with."""

from __future__ import annotations

from lmi_runtime.stress.model import Report

__all__ = ["StressFailure", "StressWarning"]


class StressFailure(AssertionError):
    """
    A stress test did not pass; the text is the whole report.

    Attributes:
        report: What was found and how much was tried.
    """

    def __init__(self, text: str, report: Report) -> None:
        super().__init__(text)
        self.report = report


class StressWarning(UserWarning):
    """
    Something that cannot happen on builds with the GIL.

    Attributes:
        report: What was found and how much was tried.
    """

    def __init__(self, text: str, report: Report) -> None:
        super().__init__(text)
        self.report = report
