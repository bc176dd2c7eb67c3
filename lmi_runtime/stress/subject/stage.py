"""What lasts for a whole exploration: the process as it was, and what is watched in it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import types
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import thread as pool_threads
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from lmi_runtime.stress.control.active import caller
from lmi_runtime.stress.control.raw import get_ident
from lmi_runtime.stress.oracles.environment import Deed
from lmi_runtime.stress.subject.output import Output, captured
from lmi_runtime.stress.watch.scope import Scope
from lmi_runtime.stress.world import World

__all__ = ["Stage", "serving", "who"]

serving: ContextVar[int | None] = ContextVar("serving", default=None)
"""The invocation that this code works for; tasks and `to_thread` jobs inherit it."""

_MAKES = frozenset({"write", "create", "mkdir", "move", "unique"})
_POOL_WORKERS = {getattr(pool_threads, "_worker", None)}

# What the platform sets, as far as handlers and their libraries ask for it.
_ENVIRONMENT = {
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_LAMBDA_FUNCTION_NAME": "function",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "2048",
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/function",
    "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
    "AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
}


def who() -> int | None:
    """The invocation whose code is running; None for nobody's, or if it cannot be told."""
    here = caller()
    if here is None:
        return None
    number = serving.get()
    if number is not None:
        return number
    actor = here[1]
    # A pool's worker serves whoever has work for it, not who it was started by.
    if actor.is_loop or getattr(actor.thread, "_target", None) in _POOL_WORKERS:
        return None
    return actor.invocation


def _leave_child() -> None:
    """A forked child has one thread and nobody who would ever hand it the baton: it ends."""
    if caller() is not None:
        os._exit(0)


os.register_at_fork(after_in_child=_leave_child)


class Stage:
    """
    The process between runs.

    Thread safety: the one thread that explores; `output` is written to by whoever runs.
    """

    def __init__(self, module: str) -> None:
        """
        Args:
            module: Of the handler; imported anew for each run.
        """
        self.output = Output(who, self._swallows)
        self.is_users = _Files()
        self._importer = 0
        self.world = World.capture(module, wants=self.is_users)
        temporary = tempfile.gettempdir()
        self._temporary = {os.path.abspath(temporary), os.path.realpath(temporary)}
        self._there = frozenset(_names_in(temporary))

    @classmethod
    @contextmanager
    def set_up(cls, module: str, task_root: str) -> Iterator[Stage]:
        """
        Make the process look as it does in Lambda, and put it back.

        Args:
            module: Of the handler.
            task_root: Directory of its code; first on the import path.
        """
        path, added = sys.path[:], [name for name in _ENVIRONMENT if name not in os.environ]
        if task_root and sys.path[:1] != [task_root]:
            sys.path.insert(0, task_root)
        for name in added:
            os.environ[name] = _ENVIRONMENT[name]
        stage: Stage | None = None
        output = Output(who, lambda: stage is not None and stage._swallows())
        try:
            with captured(output):
                stage = cls(module)
                stage.output = output
                yield stage
        finally:
            sys.path[:] = path
            for name in added:
                os.environ.pop(name, None)

    def fresh(self) -> types.ModuleType:
        """The handler's module, imported anew; what it prints is dropped."""
        with self._importing():
            return self.world.fresh()

    def copy(self) -> types.ModuleType:
        """One more copy of all of the user's modules, as another process has them."""
        names = [module.__name__ for module in self.world.users()]
        for name in names:
            sys.modules.pop(name, None)
        with self._importing():
            return self.world.context.run(self.world._modules.import_fresh, names[0])

    @contextmanager
    def _importing(self) -> Iterator[None]:
        self._importer = get_ident()
        try:
            yield
        finally:
            self._importer = 0

    def _swallows(self) -> bool:
        return caller() is not None or self._importer == get_ident()

    def remove_files(self, deeds: Iterable[Deed]) -> None:
        """Take away what a run made in the temporary directory, and only what it made."""
        tops = {
            self._top_of(deed.subject) for deed in deeds if deed.kind in _MAKES
        }  # fmt: skip
        for top in tops - {None}:
            assert top is not None
            with suppress(OSError):
                if os.path.isdir(top) and not os.path.islink(top):
                    shutil.rmtree(top)
                else:
                    os.unlink(top)

    def _top_of(self, path: str) -> str | None:
        """The entry of the temporary directory that a path is in, if it is a new one."""
        # Links are not followed: what a run made is the link, not what it leads to.
        path = os.path.abspath(path)
        for directory in self._temporary:
            if path.startswith(directory + os.sep):
                name = path[len(directory) + 1 :].partition(os.sep)[0]
                return None if name in self._there else os.path.join(directory, name)
        return None


class _Files:
    """Whether a source file is the user's. Thread safety: any thread."""

    def __init__(self) -> None:
        self._wants: Callable[[types.CodeType], bool] = Scope().wants
        self._code = compile("", "", "exec")

    def __call__(self, file: str) -> bool:
        return self._wants(self._code.replace(co_filename=file))


def _names_in(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
