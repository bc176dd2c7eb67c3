"""Whole lines from pieces that many requests and threads write at the same time."""

from __future__ import annotations

from lmi_runtime import _sync
from lmi_runtime.context import Request
from lmi_runtime.logs.cutting import MAX_LINE_BYTES

__all__ = ["LineAssembler"]

MAX_PARTIAL_LINES = 1024
"""Unfinished lines that are kept; beyond it their threads are long gone."""


class LineAssembler:
    """
    Keeps the unfinished line of each thread and request.

    `print` writes its text and its newline separately, so the pieces of two requests would
    mix without this.

    Thread safety: every method, from any thread. There is no lock: a thread adds only to keys
    that carry its own id, and whoever wants a line takes it out with `dict.pop`, which is
    atomic, so every byte has one owner at any moment.
    """

    def __init__(self) -> None:
        self._partial: dict[tuple[int, Request | None], bytes] = {}

    def feed(self, request: Request | None, data: bytes) -> list[bytes]:
        """Add `data` to the calling thread's line and return the lines that are now whole."""
        key = (_sync.current_thread_id(), request)
        partial = self._partial.pop(key, b"") if self._partial else b""
        *lines, rest = (partial + data).split(b"\n")
        if rest:
            # A line that never ends must not grow for ever; what is kept is cut anyway.
            self._partial[key] = rest[: MAX_LINE_BYTES + 1]
            # Only now: a request that ends in between is seen here, or its `finish` sees us.
            if request is not None and request.ended:
                # Nobody will finish it, and keeping it would keep the request.
                lines += [late] if (late := self._partial.pop(key, b"")) else []
        return lines

    def finish(self, request: Request) -> list[bytes]:
        """What is left of the lines of `request`, in whichever threads it was written."""
        if not self._partial:
            return []
        keys = [key for key in list(self._partial) if key[1] is request]
        return [rest for key in keys if (rest := self._partial.pop(key, b""))]

    def drain(self, keep: int = 0) -> list[tuple[Request | None, bytes]]:
        """Take out the oldest unfinished lines until `keep` are left."""
        oldest = list(self._partial)[: max(0, len(self._partial) - keep)]
        return [(key[1], rest) for key in oldest if (rest := self._partial.pop(key, b""))]

    @property
    def crowded(self) -> bool:
        """Whether more unfinished lines are kept than there can be threads at work."""
        return len(self._partial) > MAX_PARTIAL_LINES
