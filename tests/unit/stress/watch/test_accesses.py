"""What sites say of live frames, and that nobody's code runs for it."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.stress.model import Location
from lmi_runtime.stress.oracles.conflicts import overlap
from lmi_runtime.stress.watch.values import show
from tests.unit.stress.watch.live import Seen, module, watch

SOURCE = """
from collections import Counter, OrderedDict, defaultdict, deque
import sys

class Slotted:
    __slots__ = ("n",)

class Holder:
    made = 0
    def __init__(self):
        self.n = 0
        self.items = [1, 2, 3]
        self.d = {"k": 1}

    @property
    def lazy(self):
        raise AssertionError("looked")

    def __getattr__(self, name):
        raise AssertionError("looked")

    def __repr__(self):
        raise AssertionError("shown")

class Key:
    def __hash__(self):
        COUNT.append(1)
        return 1
    def __eq__(self, other):
        COUNT.append(1)
        return self is other

COUNT = []
CACHE = {}
flag = False

def attribute(h):
    h.n += 1

def slot(s):
    s.n = 5
    return s.n

def class_attribute(h):
    Holder.made += 1
    return h.made

def items(h, key):
    h.d[key] = "v"
    del h.d[key]
    h.items[-1] = "last"
    return h.items[0:2]

def globals_(key):
    global flag
    flag = True
    CACHE["sku-1"] = key
    return flag

def members(h, key):
    return key in h.d, key in h.items

def methods(h, queue, counter, ordered, names):
    h.items.append(4)
    h.d.get("k")
    queue.popleft()
    counter.update("a")
    ordered.move_to_end("k")
    names.add("x")

def default(d):
    return d["new"]

def wholes(h):
    for entry in h.items:
        break
    len(h.d)
    if h.items:
        pass
    h.items += [1]

def closure():
    seen = 0
    def inner():
        nonlocal seen
        seen += 1
    return inner

def awkward(h, key):
    CACHE[key]
    return h.lazy

def module_attribute():
    return sys.path
"""


@pytest.fixture
def app(tmp_path: Path) -> dict[str, Any]:
    return module(SOURCE, tmp_path / "app.py")


@pytest.fixture
def seen(app: dict[str, Any], tmp_path: Path) -> Callable[..., Seen]:
    def call(name: str, *arguments: Any) -> Seen:
        return watch(lambda: app[name](*arguments), str(tmp_path / "app.py"))

    return call


def test_attributes(app: dict[str, Any], seen: Callable[..., Seen]) -> None:
    found = seen("attribute", app["Holder"]())
    assert found.touched("load h.n") == [("read", "Holder.n", "n", "0")]
    assert found.touched("store h.n") == [("write", "Holder.n", "n", "")]


def test_slots(app: dict[str, Any], seen: Callable[..., Seen]) -> None:
    found = seen("slot", app["Slotted"]())
    assert found.touched("store s.n") == [("write", "Slotted.n", "n", "5")]
    assert found.touched("load s.n") == [("read", "Slotted.n", "n", "5")]


def test_a_class_attribute_is_one_place_read_through_class_or_instance(
    app: dict[str, Any], seen: Callable[..., Seen]
) -> None:
    found = seen("class_attribute", app["Holder"]())
    locations = {t.access.location for _, touched in found.sites for t in touched}
    assert locations == {Location(id(app["Holder"]), "made", "")}


def test_items(app: dict[str, Any], seen: Callable[..., Seen]) -> None:
    found = seen("items", app["Holder"](), "k")
    assert found.touched("store h.d[key]") == [("write", "Holder.d['k']", "'k'", "'v'")]
    assert found.touched("delete h.d[key]") == [("write", "Holder.d['k']", "'k'", "")]
    assert found.touched("store h.items[-1]") == [("write", "Holder.items[2]", "2", "'last'")]
    assert found.touched("load h.items[...]") == [("read", "Holder.items[...]", None, "")]


def test_globals(seen: Callable[..., Seen]) -> None:
    found = seen("globals_", 7)
    assert found.touched("store flag") == [("write", "app.flag", "flag", "True")]
    assert found.touched("load flag") == [("read", "app.flag", "flag", "True")]
    assert found.touched("store CACHE['sku-1']") == [
        ("write", "app.CACHE['sku-1']", "'sku-1'", "7")
    ]


def test_membership_is_about_a_key_or_about_all(
    app: dict[str, Any], seen: Callable[..., Seen]
) -> None:
    found = seen("members", app["Holder"](), "k")
    assert found.touched("find key in h.d") == [("read", "Holder.d['k']", "'k'", "1")]
    assert found.touched("find key in h.items") == [("read", "Holder.items", None, "list of 3")]


def test_methods_of_builtin_containers(app: dict[str, Any], seen: Callable[..., Seen]) -> None:
    queue, counter = app["deque"]([1]), app["Counter"]()
    found = seen("methods", app["Holder"](), queue, counter, app["OrderedDict"](k=1), set())
    assert found.touched("call h.items.append") == [("update", "Holder.items", None, "list of 3")]
    assert found.touched("call h.d.get") == [("read", "Holder.d['k']", "'k'", "1")]
    assert found.touched("call queue.popleft") == [("update", "queue", None, "deque of 1")]
    assert found.touched("call counter.update") == [("update", "counter", None, "Counter of 0")]
    assert [mode for mode, *_ in found.touched("call ordered.move_to_end")] == ["update"]
    assert found.touched("call names.add") == [("update", "names['x']", "'x'", "")]


def test_reading_what_a_defaultdict_has_not_changes_it(
    app: dict[str, Any], seen: Callable[..., Seen]
) -> None:
    found = seen("default", app["defaultdict"](list))
    assert found.touched("load d['new']") == [("update", "d['new']", "'new'", "")]


def test_whole_containers(app: dict[str, Any], seen: Callable[..., Seen]) -> None:
    found = seen("wholes", app["Holder"]())
    for label in ("iterate h.items", "next of h.items", "test h.items"):
        assert found.touched(label) == [("read", "Holder.items", None, "list of 3")]
    assert found.touched("call len") == [("read", "Holder.d", None, "dict of 1")]
    assert found.touched("compute +=") == [("update", "Holder.items", None, "list of 3")]


def test_a_cell_is_known_by_its_identity(app: dict[str, Any], tmp_path: Path) -> None:
    one, other = app["closure"](), app["closure"]()
    other()
    other()  # never the number that the one holds
    found = watch(lambda: (one(), other()), str(tmp_path / "app.py"))
    owners = [t.owner for site, ts in found.sites if site.label == "load seen" for t in ts]
    assert owners == [one.__closure__[0], other.__closure__[0]]
    assert found.touched("load seen") == [
        ("read", "seen", "seen", "0"),
        ("read", "seen", "seen", "2"),
    ]


def test_a_cell_that_cannot_be_told_from_another_is_left_out(
    app: dict[str, Any], tmp_path: Path
) -> None:
    one, _other = app["closure"](), app["closure"]()
    found = watch(one, str(tmp_path / "app.py"))
    assert found.touched("load seen") == []


def test_nobody_s_code_runs(app: dict[str, Any], tmp_path: Path) -> None:
    holder, key = app["Holder"](), app["Key"]()
    app["CACHE"][key] = 1
    app["COUNT"].clear()
    with pytest.raises(AssertionError, match="looked"):  # by the program itself
        watch(lambda: app["awkward"](holder, key), str(tmp_path / "app.py"))
    assert len(app["COUNT"]) == 1


def test_module_attributes_live_where_its_globals_do(
    app: dict[str, Any], seen: Callable[..., Seen]
) -> None:
    found = seen("module_attribute")
    (touched,) = [t for site, ts in found.sites if site.label == "load sys.path" for t in ts]
    assert touched.owner is vars(app["sys"])
    assert touched.access.location.path == "app.sys.path"


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((1, "k"), (1, "k"), True),
        ((1, "k"), (1, "j"), False),
        ((1, None), (1, "j"), True),
        ((1, "j"), (1, None), True),
        ((1, None), (2, None), False),
    ],
)
def test_a_whole_overlaps_with_its_items(
    a: tuple[int, str | None], b: tuple[int, str | None], expected: bool
) -> None:
    assert overlap(Location(*a, "a"), Location(*b, "b")) is expected


@given(
    st.one_of(
        st.text(),
        st.binary(),
        st.integers(),
        st.floats(),
        st.complex_numbers(),
        st.lists(st.integers()),
        st.just(10**5000),
        st.just(threading.Lock()),
        st.builds(type, st.text("ab", min_size=1, max_size=90), st.just(()), st.just({})),
    )
)
def test_values_are_shown_in_at_most_sixty_characters(value: object) -> None:
    assert 0 < len(show(value)) <= 60


# ------------------------------------------------------------------------- seeded races

PROGRAMS = Path(__file__).parents[4] / "stress" / "known_bugs" / "programs"


def program(name: str) -> Any:
    path = PROGRAMS / f"{name}_racy.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def contested(name: str) -> set[str]:
    """Paths that participants touch in turn, at least one of them writing."""
    loaded = program(name)
    state = loaded.make_state()
    keep: list[object] = []
    first: dict[Location, bool] = {}
    found: set[str] = set()
    for call in loaded.threads(state):
        seen = watch(call, loaded.__file__)
        mine = [t for site, touched in seen.sites if site.shared for t in touched]
        keep.extend(t.owner for t in mine)
        for location, wrote in list(first.items()):
            found.update(
                t.access.location.path
                for t in mine
                if overlap(location, t.access.location) and (wrote or t.access.mode != "read")
            )
        for t in mine:
            location = t.access.location
            first[location] = first.get(location, False) or t.access.mode != "read"
    return found


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("audit_between_two_locks", "Bank.a"),
        ("block_given_twice", "Disk.busy[2]"),
        ("cancelled_after_shipping", "Order.status"),
        ("closed_twice", "Connection.users"),
        ("dict_resized_while_read", "dict_resized_while_read_racy.COUNTERS['errors']"),
        ("early_return_keeps_lock", "Table.closed"),
        ("endpoint_swapped_in_halves", "Settings.host"),
        ("headers_on_the_class", "Client.headers['user']"),
        ("identity_given_twice", "Ids.last"),
        ("last_item_stolen_twice", "Jobs.tail"),
        ("lazy_list_lost", "Bus.names"),
        ("lock_made_per_call", "Stock.left['sku']"),
        ("lock_per_key_made_twice", "Tally.locks['x']"),
        ("lru_evicted_meanwhile", "Lru.data['c']"),
        ("peterson_turn_first", "State.wants[0]"),
    ],
)
def test_seeded_races_are_about_what_the_participants_share(name: str, path: str) -> None:
    assert path in contested(name)
