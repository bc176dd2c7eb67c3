"""A process as it was before a run, and how to get it back."""

from __future__ import annotations

import contextvars
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter  # bound early: the clock that everybody else reads may be virtual
from typing import Any, Final

from lmi_runtime.stress.world.fingerprints import fingerprint
from lmi_runtime.stress.world.loggers import LoggingKeeper, handlers_of_loggers, library_modules
from lmi_runtime.stress.world.modules import UserModules
from lmi_runtime.stress.world.nodes import Node, Tree
from lmi_runtime.stress.world.process import ExitCalls, Keeper, process_keepers

__all__ = ["Change", "Changes", "Reading", "World", "compare"]

Reading = Mapping[str, Any]
"""The state of each keeper, by its name."""

_MISSING: Final = "nothing"


@dataclass(frozen=True, slots=True)
class Change:
    """
    One thing in the process that is not what it was.

    Attributes:
        part: Name of the keeper: ``os.environ``, ``logging``.
        path: What a person would write: ``os.environ['TZ']``.
        before: Short repr.
        after: Short repr.
    """

    part: str
    path: str
    before: str
    after: str

    @property
    def sentence(self) -> str:
        """What changed."""
        return f"{self.path} was {self.before}, and is {self.after} now"


Changes = tuple[Change, ...]


class World:
    """
    The state of the process that a run may change, to be put back after each.

    What libraries keep in their own modules is not part of it: they are imported once.

    Thread safety: use by the one thread that explores, while no run is under way.
    """

    def __init__(
        self,
        module: str | None = None,
        *,
        wants: Callable[[str], bool] = lambda _file: False,
        keepers: Sequence[Keeper] = (),
    ) -> None:
        """
        Args:
            module: The module that `fresh` imports.
            wants: Whether the source file with an absolute path belongs to the user, so that
                its module is executed anew for each run.
            keepers: Of other parts that are to be put back.
        """
        self._module = module
        self._modules = UserModules(wants)
        self._exit_calls = ExitCalls()
        self._keepers: list[Keeper] = [
            *process_keepers(),
            LoggingKeeper(library_modules(self._is_users)),
            *keepers,
        ]
        self._order = list(sys.modules)
        self._before: Reading = self.read()
        self._set_aside: dict[str, types.ModuleType] | None = None
        self._meta_path = list(sys.meta_path)
        self.context = contextvars.copy_context()
        """What the modules' own code set at import; a task that a handler starts sees it."""
        self.import_s = 0.0
        """Real seconds of the last import."""
        self.first_import_s = 0.0
        """Real seconds of the first, which loads libraries, too."""

    @classmethod
    def capture(
        cls,
        module: str | None = None,
        *,
        wants: Callable[[str], bool] = lambda _file: False,
        keepers: Sequence[Keeper] = (),
    ) -> World:
        """Take the process as it is now; the arguments are those of `World`."""
        return cls(module, wants=wants, keepers=keepers)

    def fresh(self) -> types.ModuleType:
        """
        Import the module anew, with all of the user's modules that it needs.

        Modules that are imported later, until `restore`, are fresh as well. Runs in a context of
        its own, `context`.

        Raises:
            ValueError: No module was named.
            Exception: Whatever the module raises; the world is restored then.
        """
        if self._module is None:
            raise ValueError("This world was captured without a module to import")
        if self._set_aside is not None:
            self.restore()
        self._set_aside = self._modules.forget()
        self._modules.install()
        self._exit_calls.begin()
        self.context = contextvars.copy_context()
        started = perf_counter()
        try:
            found = self.context.run(self._modules.import_fresh, self._module)
        except BaseException:
            self.restore()
            raise
        self.import_s = perf_counter() - started
        self.first_import_s = self.first_import_s or self.import_s
        return found

    def restore(self) -> None:
        """Put everything back. Harmless when nothing was changed."""
        for keeper in self._keepers:
            keeper.write(self._before[keeper.name])
        if self._set_aside is None:
            return
        self._exit_calls.end()
        self._modules.forget()
        self._modules.remove()
        if sys.meta_path != self._meta_path:
            sys.meta_path[:] = self._meta_path
        self._modules.bring_back(self._set_aside, self._order)
        self._set_aside = None

    def read(self) -> Reading:
        """The state of everything now, for `compare`."""
        return {keeper.name: keeper.read() for keeper in self._keepers}

    def compare(self, before: Reading, after: Reading) -> Changes:
        """What differs between two readings."""
        return compare(self._keepers, before, after)

    def users(self) -> list[types.ModuleType]:
        """The user's modules that are loaded now."""
        return list(self._modules.loaded().values())

    def fingerprint(self, *, normalise: Callable[[str], str] | None = None) -> dict[str, Tree]:
        """Everything the user's modules keep now, and who handles their log records."""
        state = fingerprint(self.users(), normalise=normalise)
        handlers = handlers_of_loggers().items()
        return state | {path: Node("list", "list", names) for path, names in handlers}

    @property
    def stale(self) -> tuple[str, ...]:
        """The user's modules that cannot be executed anew, such as extension modules."""
        return tuple(self._modules.stale())

    @property
    def import_times(self) -> Mapping[str, float]:
        """Real seconds of the last import of each of the user's modules, slowest first."""
        seconds = self._modules.seconds
        return dict(sorted(seconds.items(), key=lambda item: -item[1]))

    def _is_users(self, logger: str) -> bool:
        top = logger.partition(".")[0]
        return any(name in self._modules.seconds for name in (logger, top))


@dataclass(slots=True)
class _Comparison:
    """Facts of two readings side by side."""

    part: str
    changes: list[Change] = field(default_factory=list)

    def add(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        for path in dict.fromkeys((*before, *after)):
            old, new = before.get(path, _MISSING), after.get(path, _MISSING)
            if old is not new and old != new:
                self.changes.append(Change(self.part, path, _short(old), _short(new)))


def compare(keepers: Sequence[Keeper], before: Reading, after: Reading) -> Changes:
    """What differs between two readings that the same keepers made."""
    changes: list[Change] = []
    for keeper in keepers:
        old, new = before[keeper.name], after[keeper.name]
        if old is not new and old != new:
            comparison = _Comparison(keeper.name)
            comparison.add(keeper.facts(old), keeper.facts(new))
            changes += comparison.changes
    return tuple(changes)


def _short(value: Any) -> str:
    if value is _MISSING:
        return _MISSING
    if isinstance(value, (str, int, float, tuple, type(None))):
        text = repr(value)
        return text if len(text) <= 80 else f"{text[:77]}..."
    return f"<{type(value).__qualname__}>"
