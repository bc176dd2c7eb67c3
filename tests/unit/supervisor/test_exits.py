"""Wait statuses in words."""

from __future__ import annotations

import pytest

from lmi_runtime.supervisor.exits import explain_exit
from lmi_runtime.supervisor.policy import EXIT_UNREACHABLE


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (9, "killed by SIGKILL (the kernel does this when memory runs out)"),
        (11, "killed by SIGSEGV"),
        (11 | 0x80, "killed by SIGSEGV"),  # with a core dump
        (15, "killed by SIGTERM"),
        (0, "code 0 although nobody asked"),
        (3 << 8, "code 3"),
        (EXIT_UNREACHABLE << 8, "the Runtime API is gone"),
        (126, "killed by signal 126"),
        (None, "something else in this process collected its exit status"),
    ],
)
def test_every_end_has_its_words(status: int | None, words: str) -> None:
    assert words in explain_exit(status)
