"""Whatever a run changed, the next one starts like the first."""

from __future__ import annotations

import asyncio
import atexit
import builtins
import contextvars
import decimal
import gc
import importlib
import locale
import logging
import os
import random
import signal
import sys
import threading
import types
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmi_runtime.stress.world import Whole, World

from .conftest import MakeWorld


def test_module_state_is_new_each_time(make_world: MakeWorld) -> None:
    world = make_world("COUNTS = {}")
    first = world.fresh()
    first.COUNTS["u1"] = 1

    second = world.fresh()

    assert second is not first
    assert second.COUNTS == {}


def test_code_objects_stay_the_same(make_world: MakeWorld) -> None:
    """What watches instructions is keyed by code object."""
    world = make_world("from APP import other\ndef handler(): return lambda: 0", other="def f(): 0")

    codes = set()
    for _ in range(3):
        module = world.fresh()
        codes.add((module.handler.__code__, module.handler().__code__, module.other.f.__code__))

    assert len(codes) == 1


def test_modules_that_a_handler_imports_lazily_are_new_too(make_world: MakeWorld) -> None:
    world = make_world("def handler():\n from APP import lazy\n return lazy", lazy="SEEN = []")
    first = world.fresh().handler()
    first.SEEN.append(1)

    second = world.fresh().handler()

    assert second is not first
    assert second.SEEN == []


def test_submodules_are_attributes_of_the_new_parent(make_world: MakeWorld, package: str) -> None:
    world = make_world("import APP.deep", deep="X = []")

    module = world.fresh()

    assert module.deep is sys.modules[f"{package}.deep"]
    assert module.deep.__spec__.parent == package


def test_reload_in_a_run_executes_the_same_code_in_the_same_module(make_world: MakeWorld) -> None:
    world = make_world("def handler(): pass\nSTATE = []")
    module = world.fresh()
    code = module.handler.__code__
    module.STATE.append(1)

    assert importlib.reload(module) is module
    assert module.handler.__code__ is code
    assert module.STATE == []


def test_libraries_stay_loaded(make_world: MakeWorld) -> None:
    world = make_world("import decimal")

    assert world.fresh().decimal is decimal


def test_modules_imported_before_come_back_with_their_place(
    make_world: MakeWorld, package: str
) -> None:
    world_source = "from APP import deep"
    make_world(world_source, deep="")
    before = importlib.import_module(package)
    deep = before.deep
    sys.modules["after_it"] = types.ModuleType("after_it")
    try:
        world = make_world(world_source, deep="")
        order = list(sys.modules)

        assert world.fresh() is not before
        world.restore()

        assert sys.modules[package] is before
        assert before.deep is deep is sys.modules[f"{package}.deep"]
        assert list(sys.modules) == order
    finally:
        del sys.modules["after_it"]


def test_nothing_of_a_run_stays_loaded(make_world: MakeWorld, package: str) -> None:
    world = make_world("from APP import deep", deep="")
    meta_path = list(sys.meta_path)
    world.fresh()

    world.restore()

    assert [name for name in sys.modules if name.startswith(package)] == []
    assert sys.meta_path == meta_path


def test_a_parent_that_stays_does_not_hand_out_the_old_module(tmp_path: Path, package: str) -> None:
    """A package without a file of its own is not executed anew."""
    (tmp_path / package / "space").mkdir()
    (tmp_path / package / "space" / "deep.py").write_text("SEEN = []")
    sys.path.insert(0, str(tmp_path / package))
    world = World.capture("space.deep", wants=lambda file: file.startswith(str(tmp_path)))
    try:
        first = world.fresh()
        world.restore()

        assert not hasattr(sys.modules["space"], "deep")
        assert world.fresh() is sys.modules["space"].deep is not first
    finally:
        world.restore()
        sys.modules.pop("space", None)
        sys.path.remove(str(tmp_path / package))


def test_a_module_that_cannot_be_imported_leaves_nothing(
    make_world: MakeWorld, package: str
) -> None:
    world = make_world("import os\nos.environ['HALF_WAY'] = '1'\nraise ValueError('no')")

    with pytest.raises(ValueError, match="no"):
        world.fresh()

    assert "HALF_WAY" not in os.environ
    assert package not in sys.modules


def test_a_world_without_module_says_so() -> None:
    with pytest.raises(ValueError, match="without a module"):
        World.capture().fresh()


def test_resources_of_a_package_can_be_read(
    make_world: MakeWorld, tmp_path: Path, package: str
) -> None:
    (tmp_path / package / "data.txt").write_text("here")
    world = make_world(
        "import importlib.resources as r\nTEXT = r.files('APP').joinpath('data.txt').read_text()"
    )

    assert world.fresh().TEXT == "here"


def _set_environment() -> None:
    os.environ["NEW"] = "1"
    os.environ["PATH"] = "changed"
    del os.environ["HOME"]


def _replace_environment() -> None:
    os.environ = {}  # type: ignore[assignment]  # noqa: B003


def _set_signal() -> None:
    signal.signal(signal.SIGUSR1, lambda *_: None)


def _mute_warnings() -> None:
    warnings.simplefilter("ignore")


def _leave_catch_warnings() -> None:
    warnings.catch_warnings().__enter__()
    warnings.simplefilter("ignore")


def _set_decimal() -> None:
    decimal.getcontext().prec = 3
    decimal.DefaultContext.traps[decimal.Inexact] = True


def _set_builtin() -> None:
    builtins.surprise = 1  # type: ignore[attr-defined]
    builtins.print = len  # type: ignore[assignment]


def _set_policy() -> None:
    vars(asyncio.events)["_event_loop_policy"] = object()


def _add_level() -> None:
    logging.addLevelName(7, "SEVEN")
    logging.disable(50)


def _replace_hooks() -> None:
    sys.stdout = sys.stderr
    sys.excepthook = print
    threading.excepthook = print
    sys.path.append("/nowhere")


@pytest.fixture
def somewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/home")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("somewhere")
@pytest.mark.parametrize(
    ("change", "path"),
    [
        (_set_environment, "os.environ['NEW']"),
        (_replace_environment, "os.environ"),
        (lambda: os.chdir("/"), "the current directory"),
        (lambda: os.umask(0o123), "the umask"),
        (lambda: locale.setlocale(locale.LC_CTYPE, "C"), "the locale"),
        (_set_signal, f"the handler of signal[{int(signal.SIGUSR1)}]"),
        (_mute_warnings, "warnings.filters"),
        (_leave_catch_warnings, "warnings.filters"),
        (_set_decimal, "decimal.getcontext().prec"),
        (_set_builtin, "builtins.surprise"),
        (_set_policy, "asyncio.events._event_loop_policy"),
        (_add_level, "logging.disable"),
        (_replace_hooks, "sys.stdout"),
        (lambda: sys.setrecursionlimit(5000), "the recursion limit"),
    ],
)
def test_what_a_run_changes_is_named_and_put_back(change: Callable[[], Any], path: str) -> None:
    locale_before = locale.setlocale(locale.LC_ALL)
    if path == "the locale" and locale_before == "C":
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    try:
        world = World.capture()
        before = world.read()
        change()
        after = world.read()
        world.restore()

        assert path in {it.path for it in world.compare(before, after)}
        assert world.compare(before, world.read()) == ()
    finally:
        locale.setlocale(locale.LC_ALL, locale_before)


def test_random_numbers_repeat_but_drawing_one_is_no_change() -> None:
    world = World.capture()
    before = world.read()
    first = random.random()
    assert world.compare(before, world.read()) == ()

    world.restore()

    assert random.random() == first
    world.restore()


def test_an_inexact_sum_is_no_change() -> None:
    world = World.capture()
    before = world.read()

    assert decimal.Decimal(1) / 3
    assert world.compare(before, world.read()) == ()


def test_a_change_reads_like_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TENANT", raising=False)
    world = World.capture()
    before = world.read()
    monkeypatch.setenv("TENANT", "acme")

    (change,) = world.compare(before, world.read())

    assert change.sentence == "os.environ['TENANT'] was nothing, and is 'acme' now"


def test_more_can_be_kept() -> None:
    held = {"size": 1}

    def put_back(saved: dict[str, int]) -> None:
        held.clear()
        held.update(saved)

    world = World.capture(keepers=[Whole("pool", lambda: dict(held), put_back)])
    held["size"] = 2
    world.restore()

    assert held == {"size": 1}


def test_functions_registered_for_exit_go_with_their_run(make_world: MakeWorld) -> None:
    """Thousands of runs must not keep their modules alive until the process ends."""
    world = make_world("import atexit\n@atexit.register\ndef bye(): pass")
    register = atexit.register
    bye = weakref.ref(world.fresh().bye)
    assert bye() is not None

    world.restore()
    gc.collect()

    assert bye() is None
    assert atexit.register is register


def test_context_variables_set_at_import_do_not_stay(make_world: MakeWorld) -> None:
    world = make_world("import contextvars\nV = contextvars.ContextVar('V')\nV.set(1)")

    module = world.fresh()

    assert world.context[module.V] == 1
    assert module.V not in contextvars.copy_context()


def test_imports_are_timed(make_world: MakeWorld, package: str) -> None:
    world = make_world("from APP import slow", slow="sum(range(10000))")
    world.fresh()

    assert set(world.import_times) == {package, f"{package}.slow"}
    assert 0 < world.import_times[f"{package}.slow"] <= world.import_s == world.first_import_s


def test_modules_that_cannot_be_executed_anew_are_named(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    extension = types.ModuleType("fast")
    extension.__file__ = str(tmp_path / "fast.so")
    monkeypatch.setitem(sys.modules, "fast", extension)

    assert make_world().stale == ("fast",)


def test_the_package_itself_and_the_standard_library_are_never_executed_anew() -> None:
    world = World.capture(
        "lmi_runtime.errors", wants=lambda file: "lmi_runtime/" in file or "importlib/" in file
    )
    errors = sys.modules["lmi_runtime.errors"]
    try:
        assert world.fresh() is errors
        assert sys.modules["importlib"] is importlib
    finally:
        world.restore()
