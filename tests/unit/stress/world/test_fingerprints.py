"""Two processes in the same state look the same, others do not, and nobody's code runs."""

from __future__ import annotations

import collections
import contextlib
import datetime
import functools
import itertools
import queue
import threading
import types
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.stress.world import Node, canonical, fingerprint, render, sizes

ids = itertools.count()


def module(source: str = "", **held: Any) -> types.ModuleType:
    made = types.ModuleType("app")
    exec(compile(source, "app.py", "exec"), vars(made))
    vars(made).update(held)
    return made


def shown(made: types.ModuleType) -> dict[str, str]:
    return {path: render(tree, 200) for path, tree in fingerprint([made]).items()}


def test_globals_are_named_as_people_do() -> None:
    state = shown(module(COUNTS={"u1": 1}, NAME="x", LIMIT=None))

    assert state == {"app.COUNTS": "{'u1': 1}", "app.NAME": "'x'", "app.LIMIT": "None"}


@pytest.mark.parametrize(
    ("source", "path", "value"),
    [
        ("class C:\n  made = 0", "app.C.made", "0"),
        ("class C:\n  def f(self, seen=[1]): pass", "app.C.f.seen", "[1]"),
        ("class C:\n  @staticmethod\n  def f(seen=[1]): pass", "app.C.f.seen", "[1]"),
        ("def f(x, seen=[1]): pass", "app.f.seen", "[1]"),
        ("def f(*, seen={}): pass", "app.f.seen", "{}"),
        ("def f(): pass\nf.calls = 2", "app.f.calls", "2"),
        ("def make():\n n = 3\n def f(): return n\n return f\ng = make()", "app.g.n", "3"),
        ("class C:\n  pass\nc = C()\nc.n = 1", "app.c", "app.C(n=1)"),
        ("class C:\n  __slots__ = ('n', 'm')\nc = C()\nc.n = 1", "app.c", "app.C(n=1)"),
        ("class D(dict): pass\nd = D(a=1)\nd.n = 2", "app.d", "app.D(n=2, items()={'a': 1})"),
        ("class E(Exception): pass\ne = E('no')", "app.e", "app.E(args=('no',))"),
    ],
)
def test_state_is_found_where_code_hides_it(source: str, path: str, value: str) -> None:
    assert shown(module(source))[path] == value


def test_code_is_not_state() -> None:
    source = "import os\nfrom json import dumps, JSONDecoder\ndef f(a): pass\nclass C:\n  pass"

    assert fingerprint([module(source)]) == {}


def test_what_other_modules_define_is_opaque() -> None:
    thing = contextlib.ExitStack()

    assert shown(module(STACK=thing)) == {"app.STACK": "<contextlib.ExitStack>"}


def test_locks_and_threads_are_opaque() -> None:
    state = shown(module(LOCK=threading.Lock(), T=threading.Thread(target=print)))

    assert state["app.LOCK"].endswith("lock>")
    assert state["app.T"] == "<threading.Thread>"


def test_standard_containers_are_looked_into() -> None:
    waiting: queue.Queue[int] = queue.Queue()
    waiting.put(7)
    event = threading.Event()
    event.set()

    state = shown(module(Q=waiting, E=event, S=threading.Semaphore(2), U=collections.UserDict(a=1)))

    assert state["app.Q"] == "queue.Queue(queue=[7], unfinished_tasks=1)"
    assert state["app.E"] == "threading.Event(_flag=True)"
    assert state["app.S"] == "threading.Semaphore(_value=2)"
    assert state["app.U"] == "collections.UserDict(data={'a': 1})"


def test_moments_are_kept_with_their_zone() -> None:
    moment = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)  # noqa: UP017

    assert "2026, 1, 2" in render(canonical(moment))
    assert canonical(moment) != canonical(moment.replace(tzinfo=None))


def test_order_of_keys_and_of_sets_does_not_count() -> None:
    assert canonical({"a": 1, "b": 2}) == canonical({"b": 2, "a": 1})
    assert canonical({"x", "y", "z"}) == canonical({"z", "y", "x"})
    assert canonical([1, 2]) != canonical([2, 1])


def test_nan_equals_itself() -> None:
    assert canonical({"x": float("nan")}) == canonical({"x": float("nan")})


def test_cycles_end() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    other: list[Any] = [1]
    other.append(other)

    assert canonical(ring) == canonical(other)
    assert render(canonical(ring)) == "[1, <itself>]"


def test_identity_does_not_count() -> None:
    shared: list[int] = []

    assert canonical([shared, shared]) == canonical([[], []])


def test_depth_and_size_are_bounded() -> None:
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]

    assert "..." in render(canonical(deep), 10_000)
    wide = fingerprint([module(WIDE=[[] for _ in range(1000)])], max_nodes=10)
    assert wide["app.WIDE"].parts[-1] == Node("cut")


def test_strings_are_normalised_wherever_they_are() -> None:
    tree = canonical({"token-1": ["token-1"]}, normalise=lambda text: text.replace("1", "N"))

    assert render(tree) == "{'token-N': ['token-N']}"


def test_dataclasses_are_looked_into() -> None:
    @dataclass
    class Answer:
        n: int

    assert canonical(Answer(1)) != canonical(Answer(2))
    assert canonical(Answer(1)) == canonical(Answer(1))


class Hostile:
    """Everything about it fails."""

    def _fail(self, *args: Any) -> Any:
        raise AssertionError("user code ran")

    __eq__ = __getattribute__ = __iter__ = __len__ = __repr__ = __str__ = __bool__ = _fail
    __getattr__ = __getitem__ = __reduce__ = __contains__ = __dir__ = __sizeof__ = _fail
    __class__ = property(_fail)  # type: ignore[assignment]

    def __hash__(self) -> int:
        return 1


class HostileDict(dict[Any, Any]):
    __iter__ = __len__ = __repr__ = items = keys = values = __getitem__ = Hostile._fail  # type: ignore[assignment]
    __getattribute__ = Hostile._fail  # type: ignore[assignment]


def test_no_user_code_runs() -> None:
    Hostile.__module__ = HostileDict.__module__ = "app"
    hostile = Hostile()
    held = HostileDict()
    dict.__setitem__(held, "a", hostile)

    state = fingerprint([module(H=hostile, D=held, S={hostile: [hostile]})])

    assert state["app.H"] == Node("object", "app.Hostile")


def test_sizes_are_of_what_can_grow() -> None:
    @functools.cache
    def unbounded(n: int) -> int:
        return n

    bounded = functools.lru_cache(maxsize=4)(abs)
    unbounded(1), bounded(1)
    state = fingerprint(
        [
            module(
                LOG=[1, 2],
                BY={"a": [1]},
                LAST=collections.deque([1], maxlen=3),
                unbounded=unbounded,
                bounded=bounded,
            )
        ]
    )

    assert sizes(state) == {"app.LOG": 2, "app.BY": 1, "app.BY['a']": 1, "app.unbounded": 1}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(values)
def test_a_copy_looks_the_same(value: Any) -> None:
    assert canonical(value) == canonical(copied(value))


def copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: copied(value[key]) for key in reversed(value)}
    if isinstance(value, (list, tuple)):
        return type(value)(map(copied, value))
    return float(str(value)) if isinstance(value, float) else value


@given(values)
def test_trees_can_be_keys_and_be_shown(value: Any) -> None:
    tree = canonical(value)

    assert hash(tree) == hash(canonical(value))
    assert len(render(tree)) <= 60 or "of" in render(tree)
