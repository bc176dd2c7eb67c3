"""What commands leave behind on a Redis or Valkey connection, for whoever gets it next."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["Traced", "Traces"]

_BEGINS = frozenset({"MULTI", "WATCH"})
_ENDS = frozenset({"DISCARD", "EXEC"})
_SUBSCRIBES = frozenset({"MONITOR", "PSUBSCRIBE", "SSUBSCRIBE", "SUBSCRIBE"})
_LASTING = _SUBSCRIBES | {"ASKING", "AUTH", "HELLO", "PSYNC", "QUIT", "READONLY", "READWRITE"}
_LASTING |= {"RESET", "SELECT", "SYNC"}
_LASTING_OF_CLIENT = frozenset({"CACHING", "NO-EVICT", "NO-TOUCH", "REPLY", "SETINFO", "SETNAME"})
_LASTING_OF_CLIENT |= {"TRACKING"}
_NOTED = _BEGINS | _ENDS | _LASTING | {"CLIENT", "UNWATCH"}


class Traces:
    """
    What a connection's commands have left behind, told one by one.

    Attributes:
        unended: ``MULTI`` or ``WATCH``: what was begun and has not ended, or an empty string.
        changed: Whether it is not what was opened any more, such as on another database.

    Thread safety: belongs to the connection, and so to whoever has that on lease.
    """

    __slots__ = ("changed", "unended")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew: what was done so far is how everybody gets the connection."""
        self.unended = ""
        self.changed = False

    def note(self, words: Sequence[Any]) -> None:
        """Take in one command, as the caller of a client wrote it."""
        head, _, rest = _upper(words[0]).partition(" ")
        if head not in _NOTED:
            return
        if head in _BEGINS:
            self.unended = "MULTI" if "MULTI" in (head, self.unended) else "WATCH"
        elif head in _ENDS or (head == "UNWATCH" and self.unended == "WATCH"):
            self.unended = ""
        elif head == "CLIENT":
            self.changed |= (rest or _upper(words[1])) in _LASTING_OF_CLIENT
        elif head in _LASTING:
            self.changed = True


class Traced:
    """
    Mixed into a library's connection class, synchronous or not.

    Thread safety: belongs to whoever has the connection on lease.
    """

    limited = False
    """Whether its socket's time-out is what is left of a request, and not its own."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.traces = Traces()
        super().__init__(*args, **options)

    def send_command(self, *words: Any, **options: Any) -> Any:
        """A single command passes here, or is awaited from here; several pass below."""
        self.traces.note(words)
        return super().send_command(*words, **options)  # type: ignore[misc]

    def pack_commands(self, commands: Iterable[Sequence[Any]]) -> Any:
        """Pipelines and transactions."""
        commands = list(commands)
        for words in commands:
            self.traces.note(words)
        return super().pack_commands(commands)  # type: ignore[misc]

    def usable(self) -> bool:
        """Whether it is connected, and what was opened."""
        connected = getattr(self, "is_connected", None)
        if connected is None:  # valkey-py has no name for it on synchronous connections
            connected = self._sock is not None  # type: ignore[attr-defined]
        return connected and not self.traces.changed

    def lent(self, lease: Any) -> None:
        """Belong to `lease` until `returned`."""
        self._lease = (lease, sys.exc_info()[1])

    def returned(self, harmless: tuple[type[BaseException], ...]) -> Any:
        """
        Its lease, once; None when it was given back already.

        An exception that is on its way out may leave a reply unread, and the next borrower would
        take it for its own. So the connection is not lent again, unless the exception is itself
        a reply (`harmless`), or was being handled when the lease began.
        """
        # Popping is one step: of two that give it back, one gets the lease.
        lease, error_before = self.__dict__.pop("_lease", (None, None))
        error = sys.exc_info()[1]
        spoiled = not (error is None or error is error_before or isinstance(error, harmless))
        if lease is not None and spoiled:
            lease.discard()
        return lease


def _upper(word: Any) -> str:
    text = word.decode("latin-1") if isinstance(word, bytes) else str(word)
    return text.upper()
