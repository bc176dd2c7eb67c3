"""Calls that are made when a module has been imported, by whomever, and not before."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lmi_runtime import _sync

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

__all__ = ["when_imported"]

Callback = Callable[[ModuleType], object]


def when_imported(name: str, callback: Callback) -> None:
    """
    Have `callback` called with the module `name` each time that it has been imported.

    At once when it is there already. It is called before the import returns to whoever asked for
    it, so nobody ever sees the module without. It must not raise.

    Thread safety: from any thread.
    """
    _finder.add(name, callback)
    module = sys.modules.get(name)
    if module is not None:
        # Another thread may be in the middle of it; this waits for its end.
        callback(importlib.import_module(name))


class _Finder:
    """
    Finds nothing by itself: it asks the others, and marks what they find.

    Thread safety: from any thread.
    """

    def __init__(self) -> None:
        self._lock = _sync.ProcessWide(lambda: _sync.Lock(), anew_in_child=True)
        self._callbacks: dict[str, tuple[Callback, ...]] = {}
        """Written under _lock, one name at a time; read without."""
        self._asking: set[tuple[str, int]] = set()
        """What is being looked for, and by which thread; each changes its own only."""

    def add(self, name: str, callback: Callback) -> None:
        with self._lock():
            if self not in sys.meta_path:
                # Duck-typed, as is the loader: `importlib.abc` takes 10 ms to import before 3.12.
                sys.meta_path.insert(0, self)
            self._callbacks[name] = (*self._callbacks.get(name, ()), callback)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        asked = (fullname, _sync.current_thread_id())
        # Others ask the others as well, and among them this one.
        if fullname not in self._callbacks or asked in self._asking:
            return None
        self._asking.add(asked)
        try:
            return self._found_by_others(fullname, path, target)
        finally:
            self._asking.discard(asked)

    def _found_by_others(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None,
    ) -> ModuleSpec | None:
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec: ModuleSpec | None = find(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment]
                return spec
        return None

    def imported(self, module: ModuleType) -> None:
        """Tell everybody who waits for it."""
        for callback in self._callbacks.get(module.__name__, ()):
            callback(module)


class _Loader:
    """Stands in for a loader until the module has been made, and leaves no trace."""

    def __init__(self, loader: Any, finder: _Finder) -> None:
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        # For whoever looks a module up without importing it.
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        spec.loader = self._loader
        made: ModuleType | None = self._loader.create_module(spec)
        spec.loader = self  # type: ignore[assignment]
        return made

    def exec_module(self, module: ModuleType) -> None:
        # Whoever reads sources or resources through the module wants its real loader.
        spec = module.__spec__
        if spec is not None:
            spec.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._finder.imported(module)


_finder = _Finder()
