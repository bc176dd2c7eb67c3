"""Sampling: the level of a logger for one request, which no other request's lines are judged by."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from lmi_runtime import _sync, context
from lmi_runtime.integrations.patching import Swaps
from lmi_runtime.integrations.powertools.logger_keys import is_for_everybody
from lmi_runtime.integrations.scopes import PROCESS, holder

__all__ = ["make_sampling_safe"]

_installing = _sync.ProcessWide(lambda: _sync.Lock(), anew_in_child=True)


def make_sampling_safe(module: ModuleType, swaps: Swaps) -> None:
    """
    Change how ``logging.logger`` samples.

    What is rolled where the logger is made is the process's, until a request rolls for itself:
    the decorator has it do so in every request but the first, as it has always done.

    Raises:
        Unexpected: It is not what this was written for.
    """
    logger = module.Logger
    swaps.attribute(logger, "log_level")
    roll = swaps.function(logger, "_configure_sampling", "self")
    refresh = swaps.function(logger, "refresh_sample_rate_calculation", "self")
    set_level = swaps.function(logger, "setLevel", "self, level")

    def setLevel(self: Any, level: str | int | None) -> None:
        set_level(self, level)
        levels = RequestLevels.of(self._logger)
        if levels is not None:
            levels.forget()

    swaps.put(logger, "_configure_sampling", lambda self: roll(_Deciding(self)))
    swaps.put(logger, "refresh_sample_rate_calculation", lambda self: refresh(_Deciding(self)))
    swaps.put(logger, "setLevel", setLevel)
    swaps.put(logger, "log_level", property(_log_level))


def _log_level(self: Any) -> int:
    """The level that lines of the calling request need."""
    levels = RequestLevels.of(self._logger)
    level: int = self._logger.level
    return level if levels is None or levels.decided is None else levels.decided


class _Decision:
    """What one request decided; what the process did where it has not."""

    __slots__ = ("level",)

    def __init__(self, level: int | None) -> None:
        self.level = level


class RequestLevels:
    """
    What requests decided for a logger of the standard library.

    It answers in front of the logger's cache, which is the whole process's.

    Thread safety: from any task or thread.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._is_enabled_for = logger.isEnabledFor
        self._get_effective_level = logger.getEffectiveLevel
        self._process = _Decision(None)
        # Where the calling context found its decision, as every line asks for it.
        self._found: ContextVar[tuple[object, _Decision] | None]
        self._found = ContextVar("lmi_runtime.integrations.level", default=None)

    @property
    def decided(self) -> int | None:
        """The level of the calling request; None where nobody has decided anything."""
        return self._decision().level

    @classmethod
    def of(cls, logger: logging.Logger) -> RequestLevels | None:
        """Those of a logger that has been asked to sample."""
        found: RequestLevels | None = getattr(logger, _ATTRIBUTE, None)
        return found

    @classmethod
    def install(cls, logger: logging.Logger) -> RequestLevels:
        """Have `logger` ask its requests, on the instance: only those that sample need it."""
        with _installing():
            levels = cls.of(logger)
            if levels is None:
                levels = cls(logger)
                setattr(logger, _ATTRIBUTE, levels)
                logger.getEffectiveLevel = levels.getEffectiveLevel  # type: ignore[method-assign]
                logger.isEnabledFor = levels.isEnabledFor  # type: ignore[method-assign]
        return levels

    def decide(self, level: int) -> None:
        """Set the calling request's, or where the logger is set up the process's."""
        decision = self._process if is_for_everybody() else self._decision()
        decision.level = level

    def forget(self) -> None:
        """From now on the logger's own level counts."""
        self._process.level = None
        self._decision().level = None

    def _decision(self) -> _Decision:
        request = context.peek()
        found = self._found.get()
        if found is not None and found[0] is request:
            return found[1]
        place = holder()
        if place is PROCESS:
            return self._process
        made: _Decision = place.keep(self, lambda: _Decision(self._process.level))
        self._found.set((request, made))
        return made

    def isEnabledFor(self, level: int) -> bool:
        """As of `logging.Logger`."""
        decided = self._decision().level
        if decided is None:
            return self._is_enabled_for(level)
        logger = self._logger
        return not logger.disabled and level > logger.manager.disable and level >= decided

    def getEffectiveLevel(self) -> int:
        """As of `logging.Logger`."""
        decided = self._decision().level
        return self._get_effective_level() if decided is None else decided


_ATTRIBUTE = "_lmi_runtime_levels"


class _Deciding:
    """A powertools logger, except that the level it sets is the calling request's."""

    def __init__(self, logger: Any) -> None:
        self._powertools = logger
        self._logger = _LevelSetter(logger._logger)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._powertools, name)


class _LevelSetter:
    def __init__(self, logger: logging.Logger) -> None:
        self._standard = logger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._standard, name)

    def setLevel(self, level: str | int) -> None:
        """As of `logging.Logger`."""
        number = level if isinstance(level, int) else logging.getLevelNamesMapping()[level]
        RequestLevels.install(self._standard).decide(number)
