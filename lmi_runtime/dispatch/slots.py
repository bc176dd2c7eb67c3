"""A slot: one invocation's place, from its delivery to its answer."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context

from lmi_runtime.context import Request
from lmi_runtime.model import Invocation

__all__ = ["Slot"]


class Slot:
    """
    Where one invocation stands.

    Two things happen to a slot exactly once each, in either order: it is *settled* (its answer
    is decided) and it is *left* (its user code ended). A slot settled before it is left is
    quarantined: its code still uses the worker, so its admission token is not given back yet.

    Attributes:
        invocation: The delivery being served.
        request: What `current()` returns to its code.
        context: The context its code runs in, and nothing else does.
        ticket: The in-flight ledger's number for it.
        acts_at_s: Monotonic seconds when its deadline has to be acted upon, or None.
        cancellable: Whether `cancel` can end its code: it is a task, and not past its end.
        cancelling: Whether `cancel` was called.
        canceller: What `cancel` calls while the code runs as a task.
        report_only: Whether its handler asked not to be stopped at its deadline.
        overran: Whether its deadline had to be acted upon.
        left: Whether its code has ended.
        holds: How many tasks still have something to do for it.

    Thread safety: loop thread only.
    """

    __slots__ = (
        "_settled",
        "acts_at_s",
        "cancellable",
        "canceller",
        "cancelling",
        "context",
        "holds",
        "invocation",
        "left",
        "overran",
        "report_only",
        "request",
        "task",
        "ticket",
    )

    def __init__(
        self,
        invocation: Invocation,
        context: Context,
        *,
        ticket: int,
        acts_at_s: float | None,
        cancellable: bool,
        report_only: bool,
    ) -> None:
        self.invocation = invocation
        self.request = Request(invocation)
        self.context = context
        self.ticket = ticket
        self.acts_at_s = acts_at_s
        self.cancellable = cancellable
        self.cancelling = False
        self.report_only = report_only
        self.overran = False
        self.left = False
        self.holds = 1
        self.task: object = None  # an event loop holds its tasks only weakly
        self.canceller: Callable[[], object] | None = None
        self._settled = False

    @property
    def settled(self) -> bool:
        """Whether the answer has been decided."""
        return self._settled

    def settle(self) -> bool:
        """Claim the one answer: True for the first caller, False for every other."""
        if self._settled:
            return False
        self._settled = True
        return True

    def cancel(self) -> None:
        """Ask the code to end. Before its first step, that means it never starts."""
        self.cancelling = True
        if self.canceller is not None:
            self.canceller()
