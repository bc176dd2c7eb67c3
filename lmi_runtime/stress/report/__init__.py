"""
A `Report`, told to people and to programs.

Everything here is a pure function of the report; only `write` touches a file.
"""

from lmi_runtime.stress.report.files import write
from lmi_runtime.stress.report.json_form import from_json, to_json
from lmi_runtime.stress.report.page import html
from lmi_runtime.stress.report.sarif_form import sarif
from lmi_runtime.stress.report.terminal import text
from lmi_runtime.stress.report.words import summary

__all__ = ["from_json", "html", "sarif", "summary", "text", "to_json", "write"]
