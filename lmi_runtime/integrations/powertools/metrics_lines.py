"""Lines of metrics on their way out: each is one write, whole, and nobody else's."""

from __future__ import annotations

import sys

from lmi_runtime import _sync

__all__ = ["print_line"]

_writing = _sync.ProcessWide(lambda: _sync.RLock(), anew_in_child=True)
"""Re-entrant: a signal handler may print while its thread does."""


def print_line(text: str) -> None:
    """
    What `print` does with one text, in one write instead of two.

    Standard output is unbuffered in functions. There, the line and its end are two writes of
    `print`, and what other threads write comes between them: CloudWatch can read neither then.

    Thread safety: from any thread; one line after the other.
    """
    stream = sys.stdout  # now: tests and logs put their own there
    if stream is not None:
        with _writing():
            stream.write(f"{text}\n")
