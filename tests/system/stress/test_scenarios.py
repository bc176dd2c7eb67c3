"""Our own code holds under the race checker, and the checker would see it if it did not."""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lmi_runtime import _sync
from lmi_runtime.context import request as request_module
from lmi_runtime.dispatch.slots import Slot
from lmi_runtime.logs.assembler import LineAssembler
from lmi_runtime.logs.writers import DirectWriter, ThreadWriter
from lmi_runtime.pools.core import PoolState
from lmi_runtime.pools.engine import Engine
from lmi_runtime.pools.members import WaiterState
from lmi_runtime.pools.once import Once
from lmi_runtime.stress.control import controlled
from lmi_runtime.stress.model import Verdict
from stress.scenarios import SCENARIOS
from tests.system.stress.campaigns import FAST, HUNT, LIBRARIES, searched

pytestmark = [pytest.mark.system, pytest.mark.slow]


@pytest.fixture(autouse=True)
def as_loud_as_before() -> Iterator[None]:
    """Scenarios of failing handlers quieten our own logger; later tests listen to it."""
    logger = logging.getLogger("lmi_runtime")
    level = logger.level
    yield
    logger.setLevel(level)


Patch = pytest.MonkeyPatch


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_holds(name: str) -> None:
    """Findings that only free-threaded builds can have count here as well."""
    scenario = SCENARIOS[name]()
    is_fast = all(module.startswith("lmi_runtime") for module in scenario.include)

    report = searched(name, scenario, FAST if is_fast else LIBRARIES)

    assert report.findings == (), [finding.sentence for finding in report.findings]
    assert report.coverage.uncontrolled == ()


class _NoLock:
    def __enter__(self) -> None:
        """Keeps nobody out."""

    def __exit__(self, *_: object) -> None:
        """Lets everybody in."""


def counter_without_lock(patch: Patch) -> None:
    def make(self: Any) -> None:
        self._lock, self._value = _NoLock(), 0

    patch.setattr(_sync.Counter, "__init__", make)


def cell_without_lock(patch: Patch) -> None:
    def make(self: Any) -> None:
        self._lock, self._made, self._value = _NoLock(), False, None

    patch.setattr(request_module._Cell, "__init__", make)


def direct_writer_without_lock(patch: Patch) -> None:
    real = DirectWriter.__init__

    def make(self: Any, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        self._lock = _NoLock()

    patch.setattr(DirectWriter, "__init__", make)


def lines_not_kept_apart(patch: Patch) -> None:
    real = LineAssembler.feed

    def feed(self: Any, request: Any, data: bytes) -> list[bytes]:
        with patch.context() as only_here:
            only_here.setattr(_sync, "current_thread_id", lambda: 0)
            return real(self, None, data)

    patch.setattr(LineAssembler, "feed", feed)


def ended_is_looked_at_first(patch: Patch) -> None:
    def feed(self: Any, request: Any, data: bytes) -> list[bytes]:
        key = (_sync.current_thread_id(), request)
        *lines, rest = (self._partial.pop(key, b"") + data).split(b"\n")
        if rest and request.ended:
            return [*lines, rest]
        self._partial[key] = bytes(bytearray(rest))
        return lines

    patch.setattr(LineAssembler, "feed", feed)


def slot_settled_for_everybody(patch: Patch) -> None:
    def settle(self: Slot) -> bool:
        self._settled = True
        return True

    patch.setattr(Slot, "settle", settle)


def loop_is_expected_to_last(patch: Patch) -> None:
    patch.setattr("lmi_runtime.dispatch.loop.contextlib.suppress", lambda *_: _NoLock())


def writer_thread_is_not_woken(patch: Patch) -> None:
    patch.setattr(ThreadWriter, "_wake", lambda self: None)


def resource_is_kept_though_closed(patch: Patch) -> None:
    real = Once.succeed

    def succeed(self: Any, opening: Any, opened: Any) -> Any:
        self.cells[opening.home] = opening
        return real(self, opening, opened)

    patch.setattr(Once, "succeed", succeed)


def pool_without_lock(patch: Patch) -> None:
    class NoLock(_NoLock):
        def _is_owned(self) -> bool:
            return False

    real = PoolState.__init__

    def make(self: Any, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        self.lock = NoLock()

    patch.setattr(PoolState, "__init__", make)


def hand_off_is_swallowed(patch: Patch) -> None:
    def leave(self: Any, waiter: Any, now_s: float, orders: Any) -> None:
        waiter.state = WaiterState.OVER
        waiter.lane.line.pop(waiter, None)
        waiter.lane.handed.discard(waiter)

    patch.setattr(PoolState, "leave_locked", leave)


def goodbyes_do_not_count(patch: Patch) -> None:
    def quiet(self: Any) -> bool:
        return not (self.state.members or self.state.opening)

    patch.setattr(Engine, "_quiet_locked", quiet)


@pytest.mark.parametrize(
    ("name", "mutate"),
    [
        ("leases_of_three_threads", pool_without_lock),
        ("leases_of_cancelled_tasks", hand_off_is_swallowed),
        ("lease_and_close", goodbyes_do_not_count),
        ("counter", counter_without_lock),
        ("one_value_per_request", cell_without_lock),
        ("direct_writer", direct_writer_without_lock),
        ("lines_of_two_requests", lines_not_kept_apart),
        ("late_piece_of_a_line", ended_is_looked_at_first),
        ("deadline_and_end_of_thread", slot_settled_for_everybody),
        ("drain_gives_up_on_a_thread", loop_is_expected_to_last),
        ("flush_of_the_writer", writer_thread_is_not_woken),
        ("resource_closed_while_opened", resource_is_kept_though_closed),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
# A run that failed is unwound wherever it is, in finalizers, too.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_scenario_fails_when_the_code_is_broken(
    name: str, mutate: Callable[[Patch], None], monkeypatch: Patch
) -> None:
    mutate(monkeypatch)

    report = searched(name, SCENARIOS[name](), HUNT)

    assert report.findings, report.coverage


@pytest.mark.parametrize("name", ["counter", "direct_writer", "full_queue"])
def test_locks_of_ours_are_under_control(name: str) -> None:
    """What `setup` makes holds no lock of the interpreter's own, which would be out of control."""
    scenario = SCENARIOS[name]()

    with controlled():
        state = scenario.setup()
        found = [thing for thing in _reachable(state) if type(thing) in _REAL]

    assert found == []


_REAL = (type(threading.Lock()), type(threading.RLock()))


def _reachable(root: object) -> Iterator[object]:
    seen: dict[int, object] = {}
    waiting = [vars(root)]
    while waiting:
        thing: Any = waiting.pop()
        opaque = isinstance(thing, type | type(gc) | type(_reachable))
        if id(thing) in seen or opaque or type(thing).__name__.startswith("Controlled"):
            continue
        seen[id(thing)] = thing
        yield thing
        with contextlib.suppress(TypeError):
            waiting.extend(gc.get_referents(thing))


def test_every_scenario_says_what_must_hold() -> None:
    assert all((make.__doc__ or "").strip() for make in SCENARIOS.values())
    assert SCENARIOS["counter"]().budget.preemptions >= 1
    assert Verdict.PASSED.value == "passed"
