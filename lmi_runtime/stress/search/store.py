"""Keep failures from one day to the next, in a directory of examples."""

from __future__ import annotations

from pathlib import Path

from lmi_runtime.stress.search.tokens import Replay, TokenError, decode, encode

__all__ = ["ExampleStore"]


class ExampleStore:
    """
    Tokens of failures by subject, in the format of Hypothesis's example database.

    Thread safety: none needed beyond that of the file system; entries are written whole.
    """

    def __init__(self, directory: Path) -> None:
        from hypothesis.database import DirectoryBasedExampleDatabase  # optional dependency

        self._database = DirectoryBasedExampleDatabase(directory)

    def save(self, replay: Replay) -> None:
        """Keep a failure."""
        self._database.save(_key(replay.subject), encode(replay).encode())

    def forget(self, replay: Replay) -> None:
        """Drop a failure that does not fail any more."""
        self._database.delete(_key(replay.subject), encode(replay).encode())

    def load(self, subject: str) -> tuple[Replay, ...]:
        """The failures of a subject, smallest first; what cannot be read is dropped."""
        found = []
        for value in self._database.fetch(_key(subject)):
            try:
                found.append(decode(value.decode("ascii", "replace")))
            except TokenError:
                self._database.delete(_key(subject), value)
        found.sort(key=lambda each: (len(each.events), len(each.schedule), encode(each)))
        return tuple(found)


def _key(subject: str) -> bytes:
    return b"lmi-stress/" + subject.encode("utf-8", "surrogatepass")
