"""Threads that want one value at once: who loads, who waits, and who is told what."""

from __future__ import annotations

import asyncio
import threading
import time
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from lmi_runtime.caches import Cache, Loaded
from lmi_runtime.context import peek
from lmi_runtime.errors import LoadTimeout, ReentrantLoad
from tests.support.patience import PATIENCE_S
from tests.unit.caches.tools import AsyncGate, Call, Gate, SetClock, serve, until


def never() -> Any:
    raise AssertionError("nobody should have called this loader")


def crowd(cache: Cache[Any], gate: Gate, others: int, **options: Any) -> list[Call]:
    """One call that loads, and `others` that wait for it."""
    calls = [Call(lambda: cache.get_or_load("k", gate, **options))]
    gate.wait_begun()
    calls += [Call(lambda: cache.get_or_load("k", gate, **options)) for _ in range(others)]
    until(lambda: cache.statistics().joined == others)
    return calls


def test_one_loads_for_all() -> None:
    cache: Cache[str] = Cache()
    gate = Gate()
    calls = crowd(cache, gate, 63)
    gate.go()

    assert {call.result() for call in calls} == {"loaded"}
    assert gate.calls == 1
    assert cache.statistics().loading == 0


def test_one_failure_for_all_and_an_exception_each() -> None:
    """Of one object raised by many, the traceback would grow with everybody who raises it."""
    cache: Cache[str] = Cache()
    gate = Gate(error=OSError(5, "broken"))
    calls = crowd(cache, gate, 63)
    gate.go()

    errors = [call.join().error for call in calls]
    assert gate.calls == 1
    assert {str(error) for error in errors} == {"[Errno 5] broken"}
    assert len({id(error) for error in errors}) == 64
    assert all(_lines(error) < 15 for error in errors)
    with pytest.raises(OSError, match="broken"):
        cache.get_or_load("k", gate)
    assert gate.calls == 2


def _lines(error: BaseException | None) -> int:
    assert error is not None
    traceback, lines = error.__traceback__, 0
    while traceback is not None:
        traceback, lines = traceback.tb_next, lines + 1
    return lines


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_interrupts_the_first_thread_is_its_own(interruption: type[BaseException]) -> None:
    """One of the others begins again; nobody but the first is told."""
    cache: Cache[str] = Cache()
    first, second = Gate(error=interruption()), Gate()
    loading = Call(lambda: cache.get_or_load("k", first))
    first.wait_begun()
    waiting = [Call(lambda: cache.get_or_load("k", second)) for _ in range(8)]
    until(lambda: cache.statistics().joined == 8)

    first.go()
    second.wait_begun()
    second.go()

    assert type(loading.join().error) is interruption
    assert {call.result() for call in waiting} == {"loaded"}
    assert (first.calls, second.calls) == (1, 1)
    assert cache.statistics().loads_taken_over == 1


def test_an_interrupted_thread_on_its_own_leaves_nothing_behind() -> None:
    cache: Cache[str] = Cache()

    def interrupted() -> str:
        raise KeyboardInterrupt

    assert isinstance(
        Call(lambda: cache.get_or_load("k", interrupted)).join().error, KeyboardInterrupt
    )

    assert cache.get_or_load("k", lambda: "value", timeout_s=0) == "value"


def test_nobody_waits_longer_than_their_time_out() -> None:
    cache: Cache[str] = Cache()
    gate = Gate()
    loading = Call(lambda: cache.get_or_load("k", gate))
    gate.wait_begun()

    with pytest.raises(LoadTimeout):
        cache.get_or_load("k", gate, timeout_s=0.001)
    gate.go()

    assert loading.result() == "loaded"
    assert cache.statistics().load_timeouts == 1


def test_nobody_waits_longer_than_their_request() -> None:
    cache: Cache[str] = Cache(timeout_s=1_000)
    gate = Gate()
    loading = Call(lambda: cache.get_or_load("k", gate))
    gate.wait_begun()

    def in_a_request() -> str:
        serve(deadline_s=time.monotonic() + 0.001)
        return cache.get_or_load("k", gate)

    with pytest.raises(LoadTimeout):
        Call(lambda: copy_context().run(in_a_request)).result()
    gate.go()
    assert loading.result() == "loaded"


def test_who_is_out_of_time_gets_an_expired_value_if_there_is_one() -> None:
    clock = SetClock()
    cache: Cache[str] = Cache(ttl_s=1, stale_if_error_s=100, clock=clock.clock)
    cache.set("k", "old")
    clock.pass_(2)
    gate = Gate()
    loading = Call(lambda: cache.get_or_load("k", gate))
    gate.wait_begun()

    assert cache.get_or_load("k", gate, timeout_s=0) == "old"
    gate.go()
    assert loading.result() == "loaded"


def test_two_with_one_deadline_leave_no_error_for_later() -> None:
    cache: Cache[str] = Cache()
    gate = Gate()
    loading = Call(lambda: cache.get_or_load("k", gate))
    gate.wait_begun()
    late = [Call(lambda: cache.get_or_load("k", gate, timeout_s=0.01)) for _ in range(2)]
    assert all(isinstance(call.join().error, LoadTimeout) for call in late)
    gate.go()
    loading.join()
    cache.clear()

    assert cache.get_or_load("k", lambda: "fine") == "fine"


def test_a_load_knows_nothing_of_the_request_that_began_it() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="nobody's")
    cache: Cache[Any] = Cache()

    def in_a_request() -> Any:
        serve("mine")
        variable.set("mine")
        return cache.get_or_load("k", lambda: (peek(), variable.get()))

    assert copy_context().run(in_a_request) == (None, "nobody's")


def test_what_a_load_sets_does_not_reach_its_caller() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="mine")
    Cache[Any]().get_or_load("k", lambda: variable.set("the load's"))

    assert variable.get() == "mine"


# What is said during a load wins.


@pytest.mark.parametrize("what", ["delete", "clear", "set", "tag", "unknown tag", "leap"])
def test_what_is_said_during_a_load_wins(what: str) -> None:
    """Who came before gets what was loaded; it is not kept, and who comes after loads again."""
    clock = SetClock()
    cache: Cache[str] = Cache(ttl_s=100, clock=clock.clock)
    declared = ["t"] if what == "tag" else []
    gate = Gate(Loaded(value="loaded", tags=["t"]))
    calls = crowd(cache, gate, 3, tags=declared)

    if what == "delete":
        cache.delete("k")
    elif what == "clear":
        cache.clear()
    elif what == "set":
        cache.set("k", "set")
    elif what == "leap":
        clock.sleep_of_the_machine(50)
        clock.pass_(1)
        cache.get("another")
    else:
        cache.invalidate(tag="t")
    later = Call(lambda: cache.get_or_load("k", lambda: "later", tags=["t"]))
    if what != "unknown tag":
        expected = "set" if what == "set" else "later"
        assert later.result() == expected
    gate.go()

    assert [call.result() for call in calls] == ["loaded"] * 4
    assert later.result() == ("set" if what == "set" else "later")
    assert cache.get("k") == ("set" if what == "set" else "later")


def test_a_tag_that_comes_with_the_value_may_be_invalidated_before() -> None:
    """
    Nobody knows yet that the value will have the tag; who came after must not get it.
    """
    cache: Cache[str] = Cache()
    gate, again = Gate(Loaded(value="old", tags=["t"])), Gate("new")
    before = Call(lambda: cache.get_or_load("k", gate))
    gate.wait_begun()
    cache.invalidate(tag="t")
    after = Call(lambda: cache.get_or_load("k", again))
    until(lambda: cache.statistics().joined == 1)
    cache.invalidate(tag="other")

    gate.go()
    again.go()

    assert before.result() == "old"
    assert after.result() == "new"
    assert cache.get("k") == "new"


def test_a_tag_invalidated_twice_counts_the_second_time() -> None:
    cache: Cache[str] = Cache()
    gate, again = Gate(Loaded(value="old", tags=["t"])), Gate("new")
    before = Call(lambda: cache.get_or_load("k", gate))
    gate.wait_begun()
    cache.invalidate(tag="t")
    cache.invalidate(tag="u")
    cache.invalidate(tag="t")
    after = Call(lambda: cache.get_or_load("k", again))
    until(lambda: cache.statistics().joined == 1)

    gate.go()
    again.go()

    assert (before.result(), after.result()) == ("old", "new")


def test_a_refresh_does_not_bring_back_what_was_invalidated() -> None:
    clock = SetClock()
    cache: Cache[str] = Cache(ttl_s=10, stale_s=10, clock=clock.clock)
    cache.set("k", "old")
    clock.pass_(11)
    gate = Gate("refreshed")
    assert cache.get_or_load("k", gate) == "old"
    gate.wait_begun()

    cache.delete("k")
    gate.go()
    until(lambda: cache.statistics().loads == 1)

    assert "k" not in cache
    assert cache.get_or_load("k", lambda: "new") == "new"


def test_one_refresh_at_a_time_and_who_needs_it_waits_for_it() -> None:
    clock = SetClock()
    cache: Cache[str] = Cache(ttl_s=10, stale_s=10, clock=clock.clock)
    cache.set("k", "old")
    clock.pass_(11)
    gate = Gate("new")
    assert [cache.get_or_load("k", gate) for _ in range(5)] == ["old"] * 5
    gate.wait_begun()
    clock.pass_(10)  # now it is too old to be given

    late = Call(lambda: cache.get_or_load("k", never))
    until(lambda: cache.statistics().joined == 1)
    gate.go()

    assert late.result() == "new"
    assert gate.calls == 1


def test_a_refresh_that_is_interrupted_is_no_refresh_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    clock = SetClock()
    cache: Cache[str] = Cache(ttl_s=10, stale_s=10, clock=clock.clock)
    cache.set("k", "old")
    clock.pass_(11)
    interrupted = Gate(error=SystemExit())
    interrupted.go()
    cache.get_or_load("k", interrupted)
    until(lambda: cache.statistics().loading == 0)

    assert cache.get_or_load("k", lambda: "new") == "old"
    until(lambda: cache.get("k") == "new")


def test_without_threads_a_stale_value_is_still_given(monkeypatch: pytest.MonkeyPatch) -> None:
    from lmi_runtime import _sync

    def none_left(*_: Any, **__: Any) -> Any:
        raise RuntimeError("can't start new thread")

    clock = SetClock()
    cache: Cache[str] = Cache(ttl_s=10, stale_s=10, clock=clock.clock)
    cache.set("k", "old")
    clock.pass_(11)
    with monkeypatch.context() as patch:
        patch.setattr(_sync, "spawn", none_left)
        assert cache.get_or_load("k", never) == "old"
        assert cache.statistics().loading == 0

    assert cache.get_or_load("k", lambda: "new") == "old"
    until(lambda: cache.get("k") == "new")


# Loads that need themselves.


def test_a_load_that_needs_itself_is_told_so() -> None:
    cache: Cache[Any] = Cache()

    def loader() -> Any:
        return cache.get_or_load("k", loader)

    assert isinstance(Call(lambda: cache.get_or_load("k", loader)).join().error, ReentrantLoad)
    assert cache.get_or_load("k", lambda: 1) == 1


def test_a_ring_of_loads_over_two_caches_is_told_so() -> None:
    one: Cache[Any] = Cache()
    other: Cache[Any] = Cache()

    def a() -> Any:
        return other.get_or_load("b", b)

    def b() -> Any:
        return one.get_or_load("a", a)

    assert isinstance(Call(lambda: one.get_or_load("a", a)).join().error, ReentrantLoad)


def test_a_load_may_need_other_values() -> None:
    cache: Cache[int] = Cache()

    def load(n: int) -> int:
        return 1 if n < 2 else get(n - 1) + get(n - 2)

    def get(n: int) -> int:
        return cache.get_or_load(n, lambda: load(n))

    assert get(30) == 1_346_269
    assert cache.statistics().loads == 31


def test_a_ring_that_two_threads_close_is_told_to_one_at_least() -> None:
    """Thread 1 loads A and needs B; thread 2 loads B and needs A."""
    cache: Cache[Any] = Cache()
    both = threading.Barrier(2, timeout=PATIENCE_S)

    def needs(other: str) -> Any:
        both.wait()
        return cache.get_or_load(other, never)

    calls = [
        Call(lambda: cache.get_or_load("A", lambda: needs("B"))),
        Call(lambda: cache.get_or_load("B", lambda: needs("A"))),
    ]

    errors = [call.join().error for call in calls]
    assert any(isinstance(error, ReentrantLoad) for error in errors)


def test_a_thread_of_the_load_that_shares_its_context_is_part_of_it() -> None:
    cache: Cache[Any] = Cache()

    def loader() -> Any:
        context = copy_context()
        return Call(lambda: context.run(cache.get_or_load, "k", never)).result()

    assert isinstance(Call(lambda: cache.get_or_load("k", loader)).join().error, ReentrantLoad)


def test_what_outlives_its_load_is_no_part_of_it_any_more() -> None:
    cache: Cache[Any] = Cache()
    contexts = []
    cache.get_or_load("k", lambda: contexts.append(copy_context()))
    cache.clear()

    assert contexts[0].run(cache.get_or_load, "k", lambda: 2) == 2


# Threads and loops.


def test_an_event_loop_is_not_blocked_by_waiting_for_a_thread() -> None:
    """In a loop's thread a plain call loads for itself: what it waits for may need this loop."""
    cache: Cache[Any] = Cache()
    gate = Gate("from the thread")

    async def main() -> Any:
        return cache.get_or_load("k", lambda: "from the loop")

    thread = Call(lambda: cache.get_or_load("k", gate))
    gate.wait_begun()
    assert Call(lambda: asyncio.run(main())).result() == "from the loop"
    gate.go()

    assert thread.result() == "from the thread"
    assert cache.get("k") == "from the thread"


def test_a_plain_call_in_a_loop_whose_task_loads_does_not_hang() -> None:
    cache: Cache[Any] = Cache()
    gate = AsyncGate("from the task")

    async def main() -> Any:
        task = asyncio.create_task(cache.aget_or_load("k", gate.load))
        await gate.wait_begun()
        with pytest.raises(ReentrantLoad):
            cache.get_or_load("k", lambda: cache.get_or_load("k", never))
        found = cache.get_or_load("k", lambda: "from the call")
        gate.go()
        return found, await task

    assert Call(lambda: asyncio.run(main())).result() == ("from the call", "from the task")
