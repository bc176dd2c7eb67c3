"""Internal extensions: how a runtime asks for SIGTERM before SIGKILL."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from lmi_runtime.emulator.answers import Reply

MAX_EXTENSIONS = 10


@dataclass(frozen=True, slots=True)
class Registered:
    """
    An extension was accepted.

    Attributes:
        identifier: UUID to send back in `Lambda-Extension-Identifier`.
    """

    identifier: str


class ExtensionRegistry:
    """
    Who registered, and who is ready.

    Thread safety: loop thread only.
    """

    def __init__(self, *, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._identifiers: dict[str, str] = {}
        self._ready: set[str] = set()
        self._open = True

    def reset(self) -> None:
        """A new environment: nobody is registered."""
        self._identifiers.clear()
        self._ready.clear()
        self._open = True

    def close_registration(self) -> None:
        """The runtime is ready: whoever comes now is too late."""
        self._open = False

    @property
    def count(self) -> int:
        """Extensions registered."""
        return len(self._identifiers)

    @property
    def all_ready(self) -> bool:
        """Every registered extension waits for its next event."""
        return len(self._ready) == len(self._identifiers)

    def register(self, name: str, body: bytes) -> Registered | Reply:
        """POST extension/register."""
        if not name:
            return Reply(403, "Extension.InvalidExtensionName", "Empty extension name")
        events = _events(body)
        if isinstance(events, str):
            return Reply(403, "InvalidRequestFormat", events)
        if events:
            message = "No events allowed for internal extensions"
            return Reply(403, "Extension.InvalidEventType", message)
        return self._admit(name)

    def _admit(self, name: str) -> Registered | Reply:
        if not self._open:
            message = "Extension registration closed already"
            return Reply(403, "Extension.RegistrationClosed", message)
        if name in self._identifiers:
            message = "Extension with this name already registered"
            return Reply(403, "Extension.InvalidExtensionState", message)
        if len(self._identifiers) >= MAX_EXTENSIONS:
            message = f"Extension limit ({MAX_EXTENSIONS}) reached"
            return Reply(403, "Extension.TooManyExtensions", message)
        identifier = self._new_id()
        self._identifiers[name] = identifier
        return Registered(identifier)

    def ready(self, identifier: str) -> Reply | None:
        """GET extension/event/next: the refusal, or None and the extension waits."""
        if not identifier:
            message = "Missing Lambda-Extension-Identifier header"
            return Reply(403, "Extension.MissingExtensionIdentifier", message)
        if not _is_uuid(identifier):
            message = "Invalid Lambda-Extension-Identifier"
            return Reply(403, "Extension.InvalidExtensionIdentifier", message)
        if identifier not in self._identifiers.values():
            message = f"Unknown extension {identifier}"
            return Reply(403, "Extension.UnknownExtensionIdentifier", message)
        self._ready.add(identifier)
        return None


def _events(body: bytes) -> list[object] | str:
    try:
        facts = json.loads(body)
    except ValueError as error:
        return str(error)
    events = facts.get("events") if isinstance(facts, dict) else None
    return events if isinstance(events, list) else []


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
