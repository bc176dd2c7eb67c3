"""
What is done to connections, outside the pool's lock: look at them, reset, open and close them.

Connectors of threads are called in threads that nothing else waits for, and waited for as long as
they may take; those of tasks in tasks of the loop that the connection belongs to.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from lmi_runtime import _sync
from lmi_runtime.pools.members import Member
from lmi_runtime.pools.model import Connector
from lmi_runtime.pools.policy import PoolOptions

__all__ = ["Handling"]

C = TypeVar("C")

_log = logging.getLogger("lmi_runtime.pools")


class Handling(Generic[C]):
    """
    Thread safety: from any thread and task; each connection by one at a time.

    Args:
        connector: How its kind is handled.
        name: The pool's, for the log.
    """

    def __init__(self, connector: Connector[C], name: str) -> None:
        self.connector = connector
        self._name = name
        self.plain = connector.reset is None and connector.usable is None
        """Connections come back as they are: there is nothing to ask or to do."""

    def looks_usable(self, member: Member[C]) -> bool:
        """Without I/O."""
        usable = self.connector.usable
        if usable is None:
            return True
        try:
            return usable(member.connection)
        except Exception as error:
            self._tell("looking at", error)
            return False

    def may_be_fit(self, member: Member[C]) -> bool:
        """Without I/O: whether an idle connection may be worth a round trip."""
        if _sync.monotonic() >= member.expires_s or not self.looks_usable(member):
            return False
        return self.connector.check is not None or not member.suspect

    def must_check(self, member: Member[C], options: PoolOptions) -> bool:
        """Whether a round trip has to show that an idle connection is alive."""
        if self.connector.check is None:
            return False
        idle_s = _sync.monotonic() - member.returned_s
        return member.suspect or idle_s >= options.bypass_check_s

    def check(self, member: Member[C], timeout_s: float) -> bool:
        """For threads."""
        assert self.connector.check is not None
        return self._blocking("checking", self.connector.check, member, timeout_s)

    async def acheck(self, member: Member[C], timeout_s: float) -> bool:
        """For tasks."""
        assert self.connector.check is not None
        return await self._awaiting("checking", self.connector.check, member, timeout_s)

    def must_reset(self, member: Member[C]) -> bool:
        """Without I/O: whether a connection came back other than it was lent."""
        if self.connector.reset is None:
            return False
        asked = self.connector.needs_reset
        try:
            return asked is None or asked(member.connection)
        except Exception as error:
            self._tell("looking at", error)
            return True

    def reset(self, member: Member[C], timeout_s: float) -> bool:
        """For threads."""
        assert self.connector.reset is not None
        return self._blocking("resetting", self.connector.reset, member, timeout_s)

    async def areset(self, member: Member[C], timeout_s: float) -> bool:
        """For tasks; to be shielded."""
        assert self.connector.reset is not None
        return await self._awaiting("resetting", self.connector.reset, member, timeout_s)

    def close(self, member: Member[C]) -> None:
        """In a thread of its own."""
        assert self.connector.close is not None
        try:
            self.connector.close(member.connection)
        except Exception as error:
            self._tell("closing", error)

    async def aclose(self, member: Member[C], timeout_s: float) -> bool:
        """In a task of its own. False when it went wrong or took too long."""
        assert self.connector.close is not None
        return await self._awaiting("closing", self.connector.close, member, timeout_s)

    def abandon(self, member: Member[C]) -> None:
        """Without a goodbye: its loop is closed, or it belongs to the parent process."""
        if self.connector.abandon is not None:
            try:
                self.connector.abandon(member.connection)
            except Exception as error:
                self._tell("abandoning", error)

    def _blocking(
        self, doing: str, function: Callable[[C], Any], member: Member[C], timeout_s: float
    ) -> bool:
        try:
            _sync.bounded(lambda: function(member.connection), timeout_s)
        except Exception as error:
            self._tell(doing, error)
            return False
        return True

    async def _awaiting(
        self, doing: str, function: Callable[[C], Any], member: Member[C], timeout_s: float
    ) -> bool:
        try:
            if not self.connector.asynchronous:
                await _sync.offload(lambda: function(member.connection), timeout_s)
                return True
            import anyio

            # Not `limited`, which cancels once: a driver may take that for a wish to tidy up.
            with anyio.fail_after(timeout_s):
                await function(member.connection)
        except Exception as error:
            self._tell(doing, error)
            return False
        return True

    def _tell(self, doing: str, error: Exception) -> None:
        _log.info("Pool %r: %s a connection failed: %r", self._name, doing, error)
