"""User modules executed anew from the same code objects, time after time."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from time import perf_counter  # bound early: the clock that everybody else reads may be virtual

__all__ = ["UserModules"]

# Never executed anew, whatever is wanted: they are what executes.
_FIXED = sys.stdlib_module_names | {__name__.partition(".")[0], "__main__", "__mp_main__"}


class _CachedLoader(SourceFileLoader):
    """
    Compiles a module once and executes it as often as wanted.

    The code object stays the same, and with it all that is known by it: which instructions are
    watched, and the places in a schedule.
    """

    code: types.CodeType | None = None
    spec_places: list[str] | None = None
    seconds: float = 0.0
    """What the last execution took, modules that it imported included."""

    def get_code(self, fullname: str) -> types.CodeType | None:
        if self.code is None:
            self.code = super().get_code(fullname)
        return self.code

    def exec_module(self, module: types.ModuleType) -> None:
        started = perf_counter()
        super().exec_module(module)
        self.seconds = perf_counter() - started


class UserModules:
    """
    Finds, forgets and imports again the modules of the user; all others stay loaded.

    Stands first in `sys.meta_path` while a run lasts, so that what a handler imports lazily is
    fresh in each run, too.

    Thread safety: `find_spec` is called by whichever thread imports; all else by the thread that
    explores, between runs.
    """

    def __init__(self, wants: Callable[[str], bool]) -> None:
        """
        Args:
            wants: Whether the module in a file, given by absolute path, is the user's.
        """
        self._wants = wants
        # Found once: looking through sys.path is most of what a small import costs. Written
        # under the import lock of the module it is about.
        self._loaders: dict[str, _CachedLoader] = {}
        self._strangers: set[str] = set()

    # -- what the import system calls

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> ModuleSpec | None:
        """A spec for a module of the user, None for all others."""
        loader = self._loaders.get(fullname) or self._find(fullname, path, target)
        if loader is None:
            return None
        return importlib.util.spec_from_file_location(
            fullname, loader.path, loader=loader, submodule_search_locations=loader.spec_places
        )

    def _find(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None
    ) -> _CachedLoader | None:
        if fullname in self._strangers or fullname.partition(".")[0] in _FIXED:
            return None
        spec = self._ask_the_others(fullname, path, target)
        if spec is None or spec.origin is None or not _is_source(spec.origin):
            return None
        if not self._wants(spec.origin):
            self._strangers.add(fullname)
            return None
        loader = _CachedLoader(fullname, spec.origin)
        loader.spec_places = spec.submodule_search_locations
        self._loaders[fullname] = loader
        return loader

    def _ask_the_others(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None
    ) -> ModuleSpec | None:
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec: ModuleSpec | None = find(fullname, path, target)
            if spec is not None:
                return spec
        return None

    # -- between runs

    def install(self) -> None:
        """Stand first in line."""
        if sys.meta_path[:1] != [self]:
            self.remove()
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Stand in line no more."""
        while self in sys.meta_path:
            sys.meta_path.remove(self)

    def import_fresh(self, name: str) -> types.ModuleType:
        """
        Execute a module and all of the user's that it imports.

        Raises:
            ImportError: There is no such module.
            Exception: Whatever the module raises.
        """
        return importlib.import_module(name)

    def loaded(self) -> dict[str, types.ModuleType]:
        """Modules of the user that are loaded now, in order of their import."""
        # Hundreds of libraries are told apart once; a set operation passes over them.
        open_names = sys.modules.keys() - self._strangers
        return {
            name: sys.modules[name]
            for name in list(sys.modules)
            if name in open_names and self._is_users(name, sys.modules[name])
        }

    def _is_users(self, name: str, module: types.ModuleType) -> bool:
        if name in self._loaders:
            return True
        file = getattr(module, "__file__", None)
        fixed = name.partition(".")[0] in _FIXED
        if not fixed and isinstance(file, str) and _is_source(file) and self._wants(file):
            return True
        self._strangers.add(name)
        return False

    def forget(self) -> dict[str, types.ModuleType]:
        """Take the user's modules out of `sys.modules`, and return them."""
        taken = self.loaded()
        for name, module in taken.items():
            del sys.modules[name]
            _unbind(name, module)
        return taken

    def bring_back(self, modules: dict[str, types.ModuleType], order: Sequence[str]) -> None:
        """
        Put modules in again, at the places they had.

        Args:
            modules: From `forget`.
            order: All names that were in `sys.modules`, in order.
        """
        if not modules:
            return
        sys.modules.update(modules)
        for name, module in modules.items():
            _bind(name, module)
        known = set(order)
        # Moving one after the other to the end sorts without a moment in which a module that
        # some other thread may import is missing for longer than two instructions.
        for name in [*order, *(name for name in list(sys.modules) if name not in known)]:
            if name in sys.modules:
                sys.modules[name] = sys.modules.pop(name)

    @property
    def seconds(self) -> dict[str, float]:
        """What the last execution of each module took, with all that it imported."""
        return {name: loader.seconds for name, loader in self._loaders.items()}

    def stale(self) -> list[str]:
        """
        Modules of the user that are loaded but cannot be executed anew.

        Extension modules and modules without a source file: their state outlives a run. The
        script that explores, which has no suffix when it is a command, is none of them.
        """
        return [
            name
            for name, module in list(sys.modules.items())
            if name.partition(".")[0] not in _FIXED
            and isinstance(file := getattr(module, "__file__", None), str)
            and not _is_source(file)
            and self._wants(file)
        ]


def _is_source(file: str) -> bool:
    return file.endswith(tuple(importlib.machinery.SOURCE_SUFFIXES))


def _unbind(name: str, module: types.ModuleType) -> None:
    """A parent that stays would hand out the old module as its attribute."""
    parent_name, _, child = name.rpartition(".")
    parent = sys.modules.get(parent_name)
    if parent is not None and vars(parent).get(child) is module:
        delattr(parent, child)


def _bind(name: str, module: types.ModuleType) -> None:
    parent_name, _, child = name.rpartition(".")
    parent = sys.modules.get(parent_name)
    if parent is not None and child not in vars(parent):
        setattr(parent, child, module)
