"""What a process has only one of: environment, directory, locale, signals, random numbers."""

from __future__ import annotations

import atexit
import builtins
import decimal
import importlib
import locale
import operator
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

__all__ = ["Keeper", "Whole", "process_keepers"]

# Enumerating is 20 times the cost of asking when every answer is made an enum member.
_getsignal: Final[Callable[[int], Any]] = importlib.import_module("_signal").getsignal
_SIGNALS: Final = tuple(sorted(int(number) for number in signal.valid_signals()))


class Keeper(Protocol):
    """
    Reads and restores one part of what a process has only one of.

    Thread safety: call while nothing else runs.
    """

    name: str

    def read(self) -> Any:
        """What it is now; readings that are equal mean that nothing changed."""
        ...

    def write(self, saved: Any) -> None:
        """Make it what it was."""
        ...

    def facts(self, state: Any) -> Mapping[str, Any]:
        """What can be compared, by the path a person would write."""
        ...


@dataclass(slots=True)
class Whole:
    """A part that is read and restored as one."""

    name: str
    read: Callable[[], Any]
    restore: Callable[[Any], object]

    def write(self, saved: Any) -> None:
        """Make it what it was, if it is not."""
        if self.read() != saved:
            self.restore(saved)

    def facts(self, state: Any) -> Mapping[str, Any]:
        """One fact, or one for each key."""
        if isinstance(state, dict):
            return {f"{self.name}[{key!r}]": value for key, value in state.items()}
        return {self.name: state}


@dataclass(slots=True)
class Attributes:
    """
    Attributes of loaded modules, compared by identity; the contents of lists, too.

    A module that is not loaded is not loaded for this.
    """

    name: str
    wanted: tuple[tuple[str, str], ...]

    def read(self) -> tuple[Any, ...]:
        """Each value, a list with a copy of its contents."""
        return tuple(
            (value, tuple(value)) if type(value) is list else (value, None)
            for value in (
                vars(sys.modules[module]).get(name) if module in sys.modules else None
                for module, name in self.wanted
            )
        )

    def write(self, saved: tuple[Any, ...]) -> None:
        """Make them what they were."""
        for (module, name), (value, contents) in zip(self.wanted, saved, strict=True):
            held = vars(sys.modules[module]) if module in sys.modules else {}
            if held.get(name) is not value:
                held[name] = value
            if contents is not None and tuple(value) != contents:
                value[:] = contents

    def facts(self, state: tuple[Any, ...]) -> Mapping[str, Any]:
        """One fact an attribute."""
        return {
            f"{module}.{name}": value if contents is None else contents
            for (module, name), (value, contents) in zip(self.wanted, state, strict=True)
        }


_ATTRIBUTES: Final = tuple(
    (path.rpartition(".")[0], path.rpartition(".")[2])
    for path in (
        "os.environ",
        "sys.path",
        "sys.argv",
        "sys.path_hooks",
        "sys.stdin",
        "sys.stdout",
        "sys.stderr",
        "sys.excepthook",
        "sys.unraisablehook",
        "sys.displayhook",
        "threading.excepthook",
        "tempfile.tempdir",
        "warnings.showwarning",
        "asyncio.events._event_loop_policy",
    )
)


class Warnings:
    """Which warnings are shown."""

    name = "warnings.filters"

    def read(self) -> tuple[Any, tuple[Any, ...]]:
        """The list itself, because `catch_warnings` replaces it, and what is in it."""
        return warnings.filters, tuple(warnings.filters)

    def write(self, saved: tuple[Any, tuple[Any, ...]]) -> None:
        """Make them what they were."""
        filters, contents = saved
        if warnings.filters is filters and tuple(filters) == contents:
            return
        vars(warnings)["filters"] = filters
        warnings.resetwarnings()  # the public way to say that what was decided holds no more
        filters[:] = contents

    def facts(self, state: tuple[Any, tuple[Any, ...]]) -> Mapping[str, Any]:
        """One fact: the filters in order."""
        return {self.name: state[1]}


class Builtins:
    """Names that every module sees."""

    name = "builtins"

    def read(self) -> dict[str, Any]:
        """All of them but the shell's last result."""
        held = dict(vars(builtins))
        held.pop("_", None)
        return held

    def write(self, saved: dict[str, Any]) -> None:
        """Make them what they were."""
        held = vars(builtins)
        if len(held) == len(saved) and all(map(operator.is_, held.values(), saved.values())):
            return
        for name in [name for name in held if name not in saved and name != "_"]:
            del held[name]
        for name, value in saved.items():
            if held.get(name) is not value:
                held[name] = value

    def facts(self, state: dict[str, Any]) -> Mapping[str, Any]:
        """One fact a name."""
        return {f"builtins.{name}": value for name, value in state.items()}


@dataclass(slots=True)
class ExitCalls:
    """
    What modules registered with `atexit`.

    It cannot be asked what is registered, so registering is noted while a world is kept; else
    every run would leave its functions, and with them its modules, behind.
    """

    name: str = "atexit"
    _register: Callable[..., Any] = field(default=atexit.register)
    _noted: list[Callable[..., Any]] = field(default_factory=list)

    def begin(self) -> None:
        """Note from now on."""
        self._register = atexit.register
        vars(atexit)["register"] = self._note

    def end(self) -> None:
        """Forget what was registered, and note no more."""
        if vars(atexit)["register"] == self._note:
            vars(atexit)["register"] = self._register
        while self._noted:
            atexit.unregister(self._noted.pop())

    def _note(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._noted.append(function)
        return self._register(function, *args, **kwargs)


def _read_umask() -> int:
    # It cannot be read without being set; nothing else runs, and meanwhile it is a safe one.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _read_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def _restore_directory(saved: str) -> None:
    if saved:
        os.chdir(saved)


class Environment:
    """Environment variables."""

    name = "os.environ"

    def read(self) -> dict[Any, Any]:
        """All of them, as the system has them: to decode them takes 30 times as long."""
        return dict(getattr(os.environ, "_data", os.environ))

    def write(self, saved: dict[Any, Any]) -> None:
        """Set, change and take out what differs."""
        if self.read() == saved:
            return
        wanted = _decoded(saved)
        for name in [name for name in os.environ if name not in wanted]:
            del os.environ[name]
        for name, value in wanted.items():
            if os.environ.get(name) != value:
                os.environ[name] = value

    def facts(self, state: dict[Any, Any]) -> Mapping[str, Any]:
        """One fact a variable."""
        return {f"os.environ[{name!r}]": value for name, value in _decoded(state).items()}


def _decoded(variables: Mapping[Any, Any]) -> dict[str, str]:
    return {os.fsdecode(name): os.fsdecode(value) for name, value in variables.items()}


def _read_signals() -> dict[int, Any]:
    return {number: _getsignal(number) for number in _SIGNALS}


def _restore_signals(saved: dict[int, Any]) -> None:
    if threading.get_ident() != threading.main_thread().ident:
        return  # only the main thread can set them, so no other has changed them
    for number, handler in saved.items():
        if handler is not None and _getsignal(number) is not handler:
            signal.signal(number, handler)


_CONTEXT: Final = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")


def _read_context(context: decimal.Context) -> tuple[Any, ...]:
    settings = tuple(getattr(context, name) for name in _CONTEXT)
    return (*settings, dict(context.flags), dict(context.traps))


def _restore_context(context: decimal.Context, saved: tuple[Any, ...]) -> None:
    *settings, flags, traps = saved
    for name, value in zip(_CONTEXT, settings, strict=True):
        setattr(context, name, value)
    context.flags.update(flags)
    context.traps.update(traps)


class Decimals:
    """The caller's decimal context, and the one that new threads begin with."""

    name = "the decimal context"

    def read(self) -> tuple[Any, ...]:
        """Settings, flags and traps of both."""
        return _read_context(decimal.getcontext()), _read_context(decimal.DefaultContext)

    def write(self, saved: tuple[Any, ...]) -> None:
        """Make them what they were."""
        if self.read() != saved:
            _restore_context(decimal.getcontext(), saved[0])
            _restore_context(decimal.DefaultContext, saved[1])

    def facts(self, state: tuple[Any, ...]) -> Mapping[str, Any]:
        """All but the flags, which any inexact sum sets."""
        found: dict[str, Any] = {}
        for path, context in zip(("getcontext()", "DefaultContext"), state, strict=True):
            *settings, _flags, traps = context
            found |= {
                f"decimal.{path}.{name}": value
                for name, value in zip(_CONTEXT, settings, strict=True)
            }
            found[f"decimal.{path}.traps"] = tuple(
                sorted(trap.__name__ for trap, on in traps.items() if on)
            )
        return found


class RandomNumbers:
    """The generator behind the functions of `random`."""

    name = "random"

    def read(self) -> Any:
        """Its state."""
        return random.getstate()

    def write(self, saved: Any) -> None:
        """Draw the same numbers again."""
        random.setstate(saved)

    def facts(self, state: Any) -> Mapping[str, Any]:
        """None: it changes with every number drawn, which is no fault."""
        return {}


def process_keepers() -> list[Keeper]:
    """One for each part, in the order in which they are restored."""
    return [
        Attributes("attributes", _ATTRIBUTES),
        Environment(),
        Whole("the current directory", _read_directory, _restore_directory),
        Whole("the umask", _read_umask, os.umask),
        Whole(
            "the locale",
            lambda: locale.setlocale(locale.LC_ALL),
            lambda saved: locale.setlocale(locale.LC_ALL, saved),
        ),
        Whole("the handler of signal", _read_signals, _restore_signals),
        Whole("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
        Whole("the switch interval", sys.getswitchinterval, sys.setswitchinterval),
        Decimals(),
        Warnings(),
        Builtins(),
        RandomNumbers(),
    ]
