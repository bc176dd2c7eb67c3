"""The one place that writes a file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from lmi_runtime.stress.model import Report
from lmi_runtime.stress.report.json_form import to_json
from lmi_runtime.stress.report.page import html
from lmi_runtime.stress.report.sarif_form import sarif
from lmi_runtime.stress.report.terminal import text

__all__ = ["write"]

FORMATS: dict[str, Callable[[Report], str]] = {
    ".html": html,
    ".json": lambda report: json.dumps(to_json(report), indent=1) + "\n",
    ".sarif": lambda report: json.dumps(sarif(report), indent=1) + "\n",
    ".txt": text,
}


def write(report: Report, path: str | os.PathLike[str]) -> None:
    """
    Write the report in the format that the suffix of `path` names.

    Args:
        report: What to write.
        path: Ends in ``.html``, ``.json``, ``.sarif`` or ``.txt``. An existing file is replaced.

    Raises:
        ValueError: The suffix is none of these.
        OSError: The file cannot be written.
    """
    target = Path(path)
    form = FORMATS.get(target.suffix.lower())
    if form is None:
        raise ValueError(f"{target.name!r} does not end in one of {', '.join(FORMATS)}")
    target.write_text(form(report), encoding="utf-8")
