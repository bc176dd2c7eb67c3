"""Tracebacks as reports show them."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

__all__ = ["traceback_of"]

_OURS = str(Path(__file__).parents[1]) + os.sep


def traceback_of(error: BaseException) -> str:
    """The traceback from the first frame on that is not of this package, as one text."""
    first = error.__traceback__
    while first is not None and first.tb_frame.f_code.co_filename.startswith(_OURS):
        first = first.tb_next
    return "".join(traceback.format_exception(type(error), error, first or error.__traceback__))
