"""Where a project keeps its handler and its example events. Looks at names, imports nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["event_files", "handler_file", "handler_of", "task_root_of"]

_PLACES = ("events.json", "tests/events/*.json", "events/*.json")


def handler_file(reference: str, root: Path) -> Path | None:
    """
    The source file of the module that ``app.handler`` or ``src/app.handler`` names.

    Args:
        reference: A handler as Lambda names it.
        root: Directory the function's code is in.

    Returns:
        None if there is no such file below `root`.
    """
    module = reference.rpartition(".")[0].replace(".", "/")
    if not module:
        return None
    found = (root / f"{module}.py", root / module / "__init__.py")
    return next((path for path in found if path.is_file()), None)


def handler_of(subject: str) -> str:
    """The handler that a token's subject names; behind a ``#`` stands how events were marked."""
    handler, mark, level = subject.rpartition("#")
    return handler if mark and level.isdigit() else subject


def event_files(directory: Path) -> tuple[Path, ...]:
    """
    Files with example events, where projects usually have them.

    Args:
        directory: The handler's.

    Returns:
        ``events.json``, else all of ``tests/events/``, else all of ``events/``.
    """
    for place in _PLACES:
        found = tuple(sorted(directory.glob(place)))
        if found:
            return found
    return ()


def task_root_of(reference: str, start: Path, stop: Path) -> Path | None:
    """
    The nearest directory from `start` upwards to `stop` from which the handler can be imported.

    Args:
        reference: A handler as Lambda names it.
        start: Where to begin, such as the directory of a test.
        stop: Where to end, such as the top of the project.

    Returns:
        That directory, or its ``src``; None if there is none.
    """
    for directory in _upwards(start, stop):
        for root in (directory, directory / "src"):
            if handler_file(reference, root) is not None:
                return root
    return None


def _upwards(start: Path, stop: Path) -> Iterator[Path]:
    yield start
    if start != stop and stop in start.parents:
        yield from _upwards(start.parent, stop)
    elif start != stop:
        yield stop
