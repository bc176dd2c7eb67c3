"""Which instructions get a site, under which offset, and what switches they allow."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from lmi_runtime.stress.watch.bytecode import Site, SiteKind, analyse
from lmi_runtime.stress.watch.opcodes import decode
from tests.unit.stress.watch.live import module, watch

SHOP = """
import threading

COUNTS = {}
total = 0
LIMITS = {"a": 1}

def price(name):
    return LIMITS[name]

def plain(key):
    COUNTS[key] = COUNTS.get(key, 0) + 1

def rebinds():
    global total
    total += 1
    return price("a") + total

class Shop:
    def __init__(self):
        self.free = [1]
        self.n = 0
        self.on_close = None
        self.lock = threading.Lock()

    def take(self):
        return self.free.pop()

    def bump(self):
        self.n += 1

    def close(self):
        if self.on_close:
            self.on_close()

    def locked(self):
        with self.lock:
            self.n = 2

    def scan(self, wanted):
        for entry in self.free:
            if entry == wanted:
                return True
        return wanted in self.free

    def numbers(self):
        for number in range(3):
            yield number * 2 + 1

def closure():
    seen = 0
    fixed = "never bound again"
    def inner():
        nonlocal seen
        seen += len(fixed)
    inner()
    return seen

def empty(items):
    while items:
        items.pop()
"""


@pytest.fixture
def shop(tmp_path: Path) -> dict[str, Any]:
    return module(SHOP, tmp_path / "app.py")


def shared(function: Callable[..., Any]) -> list[str]:
    sites = analyse(function.__code__).sites
    return [site.label for _, site in sorted(sites.items()) if site.shared]


def marked(function: Callable[..., Any], attribute: str) -> list[str]:
    sites = analyse(function.__code__).sites
    return [site.label for _, site in sorted(sites.items()) if getattr(site, attribute)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # The global dict itself is never bound again; what is in it changes.
        ("plain", ["call COUNTS.get", "store COUNTS[key]"]),
        # A function of this file has points of its own.
        ("rebinds", ["load total", "store total", "load total", "compute +"]),
        ("price", ["load LIMITS[name]"]),
        ("Shop.take", ["load self.free", "call self.free.pop"]),
        ("Shop.bump", ["load self.n", "store self.n"]),
        # A method is loaded without a point, a callable that somebody binds is not.
        ("Shop.close", ["load self.on_close", "load self.on_close", "call self.on_close"]),
        ("Shop.numbers", ["compute *"]),
    ],
)
def test_shared_points_are_few_and_the_same_on_every_python(
    shop: dict[str, Any], name: str, expected: list[str]
) -> None:
    target: Any = shop
    for part in name.split("."):
        target = target[part] if isinstance(target, dict) else getattr(target, part)
    assert shared(target) == expected


def test_what_a_local_holds_is_tested_at_a_point(shop: dict[str, Any]) -> None:
    """The compiler may write a loop's condition twice."""
    assert list(dict.fromkeys(shared(shop["empty"]))) == ["test items", "call items.pop"]


def test_iteration_has_a_point_a_step(shop: dict[str, Any]) -> None:
    labels = shared(shop["Shop"].scan)
    assert labels[:3] == ["load self.free", "next of self.free", "compare"]
    assert labels[-2:] == ["load self.free", "find wanted in self.free"]


def test_only_cells_bound_again_have_points(shop: dict[str, Any]) -> None:
    inner = next(c for c in shop["closure"].__code__.co_consts if hasattr(c, "co_code"))
    labels = [s.label for _, s in sorted(analyse(inner).sites.items()) if s.shared]
    assert labels == ["load seen", "call len", "compute +=", "store seen"]


def test_a_lock_is_entered_and_left_by_name(shop: dict[str, Any]) -> None:
    assert [label for label in marked(shop["Shop"].locked, "gil_call")[:2]] == [
        "enter self.lock",
        "exit self.lock",
    ]


def test_gil_points_are_entry_backward_jump_and_what_follows_a_call(shop: dict[str, Any]) -> None:
    assert marked(shop["Shop"].bump, "gil_before") == ["enter"]
    assert marked(shop["Shop"].bump, "gil_call") == []
    assert "store COUNTS[key]" not in marked(shop["plain"], "gil_before")
    assert marked(shop["plain"], "gil_call") == ["call COUNTS.get"]
    assert marked(shop["plain"], "after_call") == ["after call"]
    assert len(marked(shop["empty"], "gil_before")) == 2


def test_a_generator_enters_again_after_each_yield(shop: dict[str, Any]) -> None:
    labels = marked(shop["Shop"].numbers, "gil_before")
    assert labels == ["enter", "resume", "loop"]


def test_going_on_after_an_await_is_no_switch_point(tmp_path: Path) -> None:
    names = module("async def f(x):\n    await x\n    return 1\n", tmp_path / "co.py")
    assert marked(names["f"], "gil_before") == ["enter"]


# ------------------------------------------------------------------------- offsets are real


def run_all(names: dict[str, Any]) -> None:
    one = names["Shop"]()
    names["plain"]("k")
    names["rebinds"]()
    names["closure"]()
    names["empty"]([1, 2])
    one.on_close = lambda: None
    for method in (one.bump, one.close, one.locked, lambda: one.scan(5), one.take):
        method()
    list(one.numbers())


def test_every_site_on_the_way_is_reported(shop: dict[str, Any], tmp_path: Path) -> None:
    """What was executed is known from the lines; each of their straight-line sites was seen."""
    seen = watch(lambda: run_all(shop), str(tmp_path / "app.py"))
    reported = set(seen.offsets)
    for function in (shop["plain"], shop["rebinds"], shop["Shop"].bump, shop["Shop"].take):
        code = function.__code__
        assert {(code, offset) for offset in analyse(code).sites} <= reported


def test_a_generator_reports_its_entry_and_each_return(
    shop: dict[str, Any], tmp_path: Path
) -> None:
    one = shop["Shop"]()
    seen = watch(lambda: list(one.numbers()), str(tmp_path / "app.py"))
    assert [label for label in seen.labels if label in ("enter", "resume")] == [
        "enter",
        "resume",
        "resume",
        "resume",
    ]


def test_an_instruction_with_a_prefix_is_found_under_the_offset_that_is_reported(
    tmp_path: Path,
) -> None:
    stores = "".join(f"    o.a{i} = {i}\n" for i in range(300))
    source = f"class O: pass\ndef f(o):\n{stores}    o.a299 += 1\n    return len(o.a298)\n"
    source = source.replace("o.a298 = 298", "o.a298 = ()")
    names = module(source, tmp_path / "long.py")
    assert any(i.arg > 255 for i in decode(names["f"].__code__))
    seen = watch(lambda: names["f"](names["O"]()), str(tmp_path / "long.py"))
    stored = [label for label in seen.labels if label.startswith("store ")]
    assert stored == [f"store o.a{i}" for i in (*range(300), 299)]
    assert seen.labels[-2:] == ["call len", "after call"]


def test_line_starts_are_the_lines_python_reports(shop: dict[str, Any], tmp_path: Path) -> None:
    one = shop["Shop"]()
    lines: list[int] = []

    def tracer(frame: FrameType, event: str, _arg: object) -> Any:
        if frame.f_code.co_filename != str(tmp_path / "app.py"):
            return None
        if event == "line":
            lines.append(frame.f_lineno)
        return tracer

    def call() -> None:
        one.scan(5)
        shop["plain"]("k")
        shop["rebinds"]()

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        call()
    finally:
        sys.settrace(before)
    seen = watch(call, str(tmp_path / "app.py"))
    mine = [site.line for site, _ in seen.sites if site.line_start]
    # A loop's head counts on the way in, too.
    assert [line for line, _ in groupby(mine)] == lines


# ------------------------------------------------------------------------- numbers


def sites_of(names: dict[str, Any]) -> list[Site]:
    return list(analyse(names["Shop"].take.__code__).sites.values())


def test_a_module_imported_again_has_the_same_sites(tmp_path: Path) -> None:
    first = sites_of(module(SHOP, tmp_path / "app.py"))
    again = sites_of(module(SHOP, tmp_path / "app.py"))
    other = sites_of(module(SHOP, tmp_path / "other.py"))
    assert first == again
    assert not {site.number for site in first} & {site.number for site in other}


def test_code_that_is_gone_is_let_go(tmp_path: Path) -> None:
    """Modules are imported again for each run; only the first code object is kept."""
    module(SHOP, tmp_path / "app.py")
    sites_of(module(SHOP, tmp_path / "app.py"))
    again = module(SHOP, tmp_path / "app.py")
    sites_of(again)
    gone = weakref.ref(again["Shop"].take.__code__)
    again.clear()
    gc.collect()
    assert gone() is None


def test_without_its_file_the_code_alone_decides() -> None:
    names: dict[str, Any] = {}
    exec(compile("def f(o):\n    o.cb = 1\n    o.cb()\n", "<made up>", "exec"), names)
    assert shared(names["f"]) == ["store o.cb", "load o.cb", "call o.cb"]


def test_kinds_name_the_first_reason(shop: dict[str, Any]) -> None:
    kinds = {site.label: site.kind for site in analyse(shop["plain"].__code__).sites.values()}
    assert kinds == {
        "enter": SiteKind.ENTER,
        "call COUNTS.get": SiteKind.CALL,
        "after call": SiteKind.AFTER,
        "store COUNTS[key]": SiteKind.ACCESS,
    }
