"""Which request ids have timed out lately."""

from __future__ import annotations

from collections import OrderedDict

from lmi_runtime.emulator.options import REMEMBERED_TIMEOUTS


class RecentTimeouts:
    """
    The last thousand timed-out request ids; each excuses one late post.

    Thread safety: loop thread only.
    """

    def __init__(self, limit: int = REMEMBERED_TIMEOUTS) -> None:
        self._limit = limit
        self._ids: OrderedDict[str, None] = OrderedDict()

    def remember(self, request_id: str) -> None:
        """The invocation with this id has timed out; the oldest record makes room."""
        self._ids[request_id] = None
        self._ids.move_to_end(request_id)
        if len(self._ids) > self._limit:
            self._ids.popitem(last=False)

    def consume(self, request_id: str) -> bool:
        """Whether a late post for this id is excused; the next one is not."""
        return self._ids.pop(request_id, self) is None
