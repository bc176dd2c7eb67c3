"""What a correct client never does, written down when it happens."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

_REMEMBERED_DELIVERIES = 10_000
_MAX_VIOLATIONS = 1000


@dataclass(frozen=True, slots=True)
class Violation:
    """
    One broken client invariant.

    Attributes:
        rule: Short name, stable, to be compared in tests.
        detail: What happened, for people.
    """

    rule: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}"


class Audit:
    """
    Watches one client of the Runtime API.

    Rules: `too-many-polls`, `abandoned-poll`, `unanswered-delivery`, `missing-invocation-id`,
    `wrong-invocation-id`, `second-post`, `illegal-response-mode`.

    Thread safety: loop thread only.
    """

    def __init__(self, *, max_polls: int, ids_are_sent: bool = True) -> None:
        self._max_polls = max_polls
        self._ids_are_sent = ids_are_sent
        self._noted: list[Violation] = []
        # Deliveries that owe an answer: invocation id by request id.
        self._open: dict[str, str] = {}
        # The last deliveries by invocation id, and whether a post for them has arrived.
        self._posted: OrderedDict[str, bool] = OrderedDict()

    @property
    def violations(self) -> tuple[Violation, ...]:
        """Everything noted, plus the deliveries nobody has answered yet."""
        unanswered = (
            Violation("unanswered-delivery", f"request {request_id} has no answer")
            for request_id in self._open
        )
        return (*self._noted, *unanswered)

    def polled(self, waiting: int) -> None:
        """A poll joined the queue."""
        if waiting > self._max_polls:
            self._note("too-many-polls", f"{waiting} polls wait, the limit is {self._max_polls}")

    def abandoned(self) -> None:
        """A waiting poll was closed while the environment served."""
        self._note("abandoned-poll", "a waiting poll was closed; the next event will be lost")

    def delivered(self, request_id: str, invocation_id: str) -> None:
        """The runtime owes an answer."""
        self._open[request_id] = invocation_id
        self._posted[invocation_id] = False
        if len(self._posted) > _REMEMBERED_DELIVERIES:
            self._posted.popitem(last=False)

    def released(self, request_id: str, invocation_id: str) -> None:
        """The delivery is over; one late post is still legal."""
        if self._open.get(request_id) == invocation_id:
            del self._open[request_id]

    def posted(self, request_id: str, invocation_id: str) -> None:
        """A post arrived, right or wrong."""
        if not invocation_id:
            if self._ids_are_sent:
                self._note("missing-invocation-id", f"post for request {request_id}")
            invocation_id = self._open.get(request_id, "")
        elif invocation_id not in self._posted:
            self._note("wrong-invocation-id", f"post for request {request_id}")
        if self._posted.get(invocation_id):
            self._note("second-post", f"request {request_id} was answered before")
        elif invocation_id in self._posted:
            self._posted[invocation_id] = True

    def forgive(self, invocation_id: str) -> None:
        """The reply to a post was withheld on purpose: trying once more is right."""
        if invocation_id in self._posted:
            self._posted[invocation_id] = False

    def illegal_mode(self, request_id: str, mode: str) -> None:
        """The response-mode header had a value that is not allowed."""
        self._note("illegal-response-mode", f"{mode!r} for request {request_id}")

    def _note(self, rule: str, detail: str) -> None:
        if len(self._noted) < _MAX_VIOLATIONS:
            self._noted.append(Violation(rule, detail))
