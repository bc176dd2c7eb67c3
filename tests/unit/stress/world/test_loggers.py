"""Loggers are what they were, and libraries keep theirs."""

from __future__ import annotations

import logging
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmi_runtime.stress.world import World

from .conftest import MakeWorld


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Name of a loaded library, without a logger yet."""
    monkeypatch.setitem(sys.modules, "some_library", types.ModuleType("some_library"))
    world = World.capture()
    yield "some_library"
    logging.root.manager.loggerDict.pop("some_library", None)
    world.restore()


def names() -> set[str]:
    return set(logging.root.manager.loggerDict)


def test_loggers_of_a_run_are_gone(make_world: MakeWorld, package: str) -> None:
    world = make_world("import logging\nlog = logging.getLogger(__name__ + '.deep')")
    before = names()
    world.fresh()
    assert package in names()  # as a placeholder

    world.restore()

    assert names() == before


def test_a_handler_added_in_each_run_is_there_once(make_world: MakeWorld) -> None:
    source = """
        import logging
        log = logging.getLogger("payments")
        log.addHandler(logging.StreamHandler())
        logging.getLogger().setLevel("DEBUG")
    """
    world = make_world(source)
    level, handlers = logging.root.level, list(logging.root.handlers)

    sizes = []
    for _ in range(3):
        sizes.append(len(world.fresh().log.handlers))
        world.restore()

    assert sizes == [1, 1, 1]
    assert (logging.root.level, logging.root.handlers) == (level, handlers)


def test_a_logger_known_before_loses_what_a_run_gave_it() -> None:
    logger = logging.getLogger("known_before")
    logger.isEnabledFor(logging.DEBUG)
    world = World.capture()
    logger.setLevel(logging.DEBUG)
    logger.addFilter(lambda _record: True)
    logger.propagate, logger.disabled = False, True
    logger.init = True  # type: ignore[attr-defined]
    assert logger.isEnabledFor(logging.DEBUG) is False

    world.restore()

    assert (logger.level, logger.filters, logger.propagate) == (logging.NOTSET, [], True)
    assert not hasattr(logger, "init")
    assert not logger._cache  # type: ignore[attr-defined]
    logging.root.manager.loggerDict.pop("known_before")


def test_a_handler_known_before_is_as_it_was() -> None:
    logger, handler = logging.getLogger("with_handler"), logging.NullHandler()
    logger.addHandler(handler)
    world = World.capture()
    handler.setLevel(logging.ERROR)
    handler.formatter = logging.Formatter("%(message)s")
    handler.addFilter(lambda _record: False)

    world.restore()

    assert (handler.level, handler.formatter, handler.filters) == (0, None, [])
    logging.root.manager.loggerDict.pop("with_handler")


def test_the_logger_of_a_library_stays_the_same_object(library: str) -> None:
    """The library keeps it in a global and is not imported anew."""
    world = World.capture()
    logger = logging.getLogger(library)
    logger.addHandler(logging.NullHandler())
    logger.addHandler(logging.StreamHandler())
    logger.setLevel(logging.DEBUG)

    world.restore()

    assert logging.getLogger(library) is logger
    assert [type(it) for it in logger.handlers] == [logging.NullHandler]
    assert logger.level == logging.NOTSET


def test_parents_are_right_when_the_one_between_went(library: str) -> None:
    """A run's logger between root and a library's must not stay its parent."""
    world = World.capture()
    child = logging.getLogger(f"{library}.part")
    middle = logging.getLogger(library)
    assert child.parent is middle
    world.restore()
    assert logging.getLogger(f"{library}.part") is child
    assert logging.getLogger(library) is middle
    assert child.parent is middle
    logging.root.manager.loggerDict.pop(f"{library}.part")


def test_placeholders_forget_loggers_of_a_run() -> None:
    outer = World.capture()
    logging.getLogger("holder.known")
    world = World.capture()
    between = logging.getLogger("holder")
    assert logging.getLogger("holder.known").parent is between

    world.restore()

    assert isinstance(logging.root.manager.loggerDict["holder"], logging.PlaceHolder)
    assert logging.getLogger("holder.known").parent is logging.root
    outer.restore()


def test_files_of_handlers_are_closed(make_world: MakeWorld, tmp_path: Path) -> None:
    source = f"""
        import logging
        handler = logging.FileHandler({str(tmp_path / "log.txt")!r})
        logging.getLogger("to_file").addHandler(handler)
    """
    world = make_world(source)
    handler = world.fresh().handler

    world.restore()

    assert handler.stream.closed
