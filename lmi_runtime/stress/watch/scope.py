"""Which code is watched: the user's own, and packages named."""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from types import CodeType

__all__ = ["Scope"]

_OURS = Path(__file__).parents[2]
_LIBRARIES = frozenset({"site-packages", "dist-packages"})


class Scope:
    """
    Decides by file name what is watched.

    Watched are real files outside the standard library, of no installed package, and not of
    lmi_runtime itself; and whatever belongs to a package in `include`, wherever it is.

    Thread safety: any thread; answers are cached, and two threads at worst work one out twice.
    """

    def __init__(self, include: Iterable[str] = ()) -> None:
        """
        Args:
            include: Modules or packages to watch as well, such as ``requests``.

        Raises:
            ModuleNotFoundError: If there is no such module, or it has no Python source.
        """
        self._included = tuple(place for name in include for place in _places_of(name))
        self._foreign = _foreign_places()
        self._answers: dict[str, bool] = {}

    def wants(self, code: CodeType) -> bool:
        """Whether `code` is watched; what is defined within a function belongs to its file."""
        name = code.co_filename
        answer = self._answers.get(name)
        if answer is None:
            answer = self._answers[name] = self._decide(name)
        return answer

    def _decide(self, name: str) -> bool:
        if name.startswith("<") or not os.path.isfile(name):
            return False
        path = os.path.realpath(name)
        if any(_within(path, place) for place in self._included):
            return True
        # Both names count: installed files may be links to a store, and a folder may be a link.
        if any(_LIBRARIES & set(Path(form).parts) for form in (path, os.path.abspath(name))):
            return False
        return not any(_within(path, place) for place in self._foreign)


def _within(path: str, place: str) -> bool:
    return path == place or path.startswith(place + os.sep)


def _foreign_places() -> tuple[str, ...]:
    kinds = ("stdlib", "platstdlib")
    paths = sysconfig.get_paths()
    places = {paths[kind] for kind in kinds} | {os.path.dirname(os.__file__)}
    places.add(str(_OURS))
    return tuple(sorted(os.path.realpath(place) for place in places))


def _places_of(name: str) -> list[str]:
    module = sys.modules.get(name)
    spec = module.__spec__ if module is not None else importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"there is no module {name!r} to watch", name=name)
    found = list(spec.submodule_search_locations or ())
    if not found and spec.origin is not None and spec.has_location:
        found = [spec.origin]
    if not found:
        raise ModuleNotFoundError(f"module {name!r} has no Python source to watch", name=name)
    return [os.path.realpath(place) for place in found]
