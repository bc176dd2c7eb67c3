"""The state of `logging`: loggers, their handlers and filters, and the module's own lists."""

from __future__ import annotations

import logging
import operator
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["LoggingKeeper", "LoggingState", "handlers_of_loggers", "library_modules"]

# typeshed does not know them; they are the same in every supported version.
_logging: Final[Any] = logging
_SETTINGS: Final = ("_loggerClass", "_logRecordFactory", "lastResort", "raiseExceptions")
_CONTAINERS: Final = ("handlers", "filters")


@dataclass(frozen=True, slots=True)
class _Frozen:
    """The attributes of one logger or handler; its lists copied, its cache left out."""

    attributes: dict[str, Any]
    handlers: tuple[Any, ...]
    filters: tuple[Any, ...]
    everything: tuple[Any, ...]
    """All values in order, the ones left out as well: if they are the same, nothing changed."""


@dataclass(frozen=True, slots=True)
class LoggingState:
    """
    One reading of `logging`.

    Attributes:
        loggers: By name, the root as ``root`` first; None for a placeholder.
        frozen: What each logger was like.
        children: What each placeholder stood for.
        handlers: What each handler that a logger had was like.
        listed: `logging._handlerList`.
        disable: Argument of the last `logging.disable`.
        settings: Module-wide ones.
        levels: Names of levels.
    """

    loggers: dict[str, Any]
    frozen: dict[str, _Frozen]
    children: dict[str, dict[Any, None]]
    handlers: list[tuple[Any, _Frozen]]
    listed: tuple[Any, ...]
    disable: int
    settings: tuple[Any, ...]
    levels: dict[int, str]


class LoggingKeeper:
    """
    Reads and restores the state of `logging`.

    A logger that came to be in a run is taken out again, unless it belongs to a library, which
    keeps its logger in a global and is not imported anew; such a logger is as its library made it.

    Thread safety: call while nothing else runs. Takes no lock: the one of a run that was
    stopped half-way may never be released.
    """

    name = "logging"

    def __init__(self, is_library: Callable[[str], bool]) -> None:
        """
        Args:
            is_library: Whether a module of that name is loaded and not the user's.
        """
        self._is_library = is_library

    def read(self) -> LoggingState:
        """What `logging` is like now."""
        loggers: dict[str, Any] = {"root": logging.root}
        loggers.update(logging.Logger.manager.loggerDict)
        frozen: dict[str, _Frozen] = {}
        children: dict[str, dict[Any, None]] = {}
        handlers: dict[int, tuple[Any, _Frozen]] = {}
        for name, logger in loggers.items():
            if isinstance(logger, logging.PlaceHolder):
                children[name] = dict(logger.loggerMap)
                continue
            frozen[name] = _freeze(logger)
            for handler in logger.handlers:
                if id(handler) not in handlers:
                    handlers[id(handler)] = (handler, _freeze(handler))
        return LoggingState(
            loggers,
            frozen,
            children,
            list(handlers.values()),
            tuple(_logging._handlerList),
            logging.root.manager.disable,
            tuple(getattr(logging, name, None) for name in _SETTINGS),
            dict(_logging._levelToName),
        )

    def write(self, saved: LoggingState) -> None:
        """Make it what it was."""
        manager = logging.root.manager
        self._restore_names(saved)
        for name, frozen in saved.frozen.items():
            _thaw(saved.loggers[name], frozen)
        for handler, frozen in saved.handlers:
            _thaw(handler, frozen)
        if tuple(_logging._handlerList) != saved.listed:
            _close_files(_logging._handlerList, saved.listed)
            _logging._handlerList[:] = saved.listed
        manager.disable = saved.disable
        for name, value in zip(_SETTINGS, saved.settings, strict=True):
            setattr(logging, name, value)
        if _logging._levelToName != saved.levels:
            _logging._levelToName.clear()
            _logging._levelToName.update(saved.levels)
            _logging._nameToLevel.clear()
            _logging._nameToLevel.update({text: level for level, text in saved.levels.items()})
            _logging._nameToLevel["WARN"] = logging.WARNING
            _logging._nameToLevel["FATAL"] = logging.CRITICAL

    def _restore_names(self, saved: LoggingState) -> None:
        names = logging.root.manager.loggerDict
        new = [name for name in names if names[name] is not saved.loggers.get(name)]
        adopted = [name for name in new if self._adopt(name, names[name], saved)]
        if new or len(names) != len(saved.loggers) - 1:
            names.clear()
            names.update((name, it) for name, it in saved.loggers.items() if name != "root")
        for name, children in saved.children.items():
            if saved.loggers[name].loggerMap != children:
                saved.loggers[name].loggerMap = dict(children)
        if adopted:
            _join_family(names, saved)

    def _adopt(self, name: str, logger: Any, saved: LoggingState) -> bool:
        """
        Let a library's logger stay, from now on in the state in which the library left it.

        Libraries add nothing but a `NullHandler`; whatever else is there is the user's, who
        will do it again in the next run.
        """
        if not isinstance(logger, logging.Logger) or not self._is_library(name):
            return False
        kept = [handler for handler in logger.handlers if type(handler) is logging.NullHandler]
        logger.handlers[:] = kept
        logger.filters[:] = []
        logger.level = logging.NOTSET
        logger.propagate, logger.disabled = True, False
        saved.loggers[name] = logger
        saved.frozen[name] = _freeze(logger)
        saved.children.pop(name, None)
        return True

    def facts(self, state: LoggingState) -> Mapping[str, Any]:
        """What can be compared, by the path a person would write."""
        found: dict[str, Any] = {"logging.disable": state.disable}
        for name, frozen in state.frozen.items():
            path = _path(name)
            found[f"{path}.handlers"] = tuple(type(it).__qualname__ for it in frozen.handlers)
            found[f"{path}.filters"] = tuple(type(it).__qualname__ for it in frozen.filters)
            for key in ("level", "propagate", "disabled"):
                found[f"{path}.{key}"] = frozen.attributes.get(key)
        return found


def _path(name: str) -> str:
    return "logging.getLogger()" if name == "root" else f"logging.getLogger({name!r})"


def handlers_of_loggers() -> dict[str, tuple[str, ...]]:
    """Class names of the handlers of each logger that has some, by the logger's path."""
    loggers = {"root": logging.root, **logging.Logger.manager.loggerDict}
    return {
        f"{_path(name)}.handlers": tuple(type(it).__qualname__ for it in logger.handlers)
        for name, logger in loggers.items()
        if isinstance(logger, logging.Logger) and logger.handlers
    }


_LEFT_OUT: Final = frozenset({"_cache", "handlers", "filters", "lock", "stream"})


def _freeze(it: Any) -> _Frozen:
    held = vars(it)
    return _Frozen(
        {key: value for key, value in held.items() if key not in _LEFT_OUT},
        tuple(held.get("handlers", ())),
        tuple(held.get("filters", ())),
        tuple(held.values()),
    )


def _thaw(it: Any, frozen: _Frozen) -> None:
    held = vars(it)
    if held.get("_cache"):
        held["_cache"].clear()
    if not _same(tuple(held.values()), frozen.everything):
        _thaw_attributes(held, frozen, it)
    for key in _CONTAINERS:
        was = getattr(frozen, key)
        if key in held and not _same(held[key], was):
            held[key][:] = was


def _thaw_attributes(held: dict[str, Any], frozen: _Frozen, absent: object) -> None:
    for key in [key for key in held if key not in frozen.attributes and key not in _LEFT_OUT]:
        del held[key]
    for key, value in frozen.attributes.items():
        if held.get(key, absent) is not value:
            held[key] = value


def _same(these: Any, those: Any) -> bool:
    return len(these) == len(those) and all(map(operator.is_, these, those))


def _close_files(listed: list[Any], kept: tuple[Any, ...]) -> None:
    """
    Close what file handlers of the run hold open, or thousands of runs use up all descriptors.

    Not with `Handler.close`, which takes locks that may be held for ever.
    """
    keep = {id(reference) for reference in kept}
    for reference in listed:
        handler = reference() if id(reference) not in keep else None
        if isinstance(handler, logging.FileHandler) and handler.stream is not None:
            handler.stream.close()


def _join_family(names: Mapping[str, Any], saved: LoggingState) -> None:
    """Tell each logger its parent and each placeholder its children, from the names alone."""
    for it in names.values():
        if isinstance(it, logging.PlaceHolder):
            it.loggerMap.clear()
    for name, logger in names.items():
        if isinstance(logger, logging.Logger):
            logger.parent = _parent_of(name, logger, names)
            saved.frozen[name].attributes["parent"] = logger.parent
    for name in saved.children:
        saved.children[name] = dict(saved.loggers[name].loggerMap)


def _parent_of(name: str, logger: logging.Logger, names: Mapping[str, Any]) -> logging.Logger:
    while "." in name:
        name = name.rpartition(".")[0]
        above = names.get(name)
        if isinstance(above, logging.Logger):
            return above
        if isinstance(above, logging.PlaceHolder):
            above.append(logger)
    return logging.root


def library_modules(is_users: Callable[[str], bool]) -> Callable[[str], bool]:
    """Whether the module or package a logger is named after is loaded, and not the user's."""

    def is_library(name: str) -> bool:
        top = name.partition(".")[0]
        return (name in sys.modules or top in sys.modules) and not is_users(name)

    return is_library
