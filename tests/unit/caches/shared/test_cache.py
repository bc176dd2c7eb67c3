"""A shared cache within one process: what it gives, keeps, and forgets."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from lmi_runtime import _sync
from lmi_runtime.caches import Loaded
from lmi_runtime.caches.shared import SharedCache
from lmi_runtime.errors import ConfigurationError, LoadFailed, LoadTimeout, ReentrantLoad
from tests.support.patience import PATIENCE_S
from tests.unit.caches.shared.conftest import Time
from tests.unit.caches.tools import serve

MakeCache = Callable[..., SharedCache[Any]]


class Loader:
    """Counts its calls, and returns or raises what it was told."""

    def __init__(self, *answers: Any) -> None:
        self.calls = 0
        self._answers = list(answers) or ["loaded"]

    def __call__(self) -> Any:
        self.calls += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def fail() -> Any:
    raise AssertionError("must not be loaded")


def wait_until(condition: Callable[[], bool]) -> None:
    until_s = _sync.monotonic() + PATIENCE_S
    while not condition():
        assert _sync.monotonic() < until_s
        _sync.sleep(0.001)


async def await_until(condition: Callable[[], bool]) -> None:
    until_s = _sync.monotonic() + PATIENCE_S
    while not condition():
        assert _sync.monotonic() < until_s
        await anyio.sleep(0.001)


def test_a_value_is_loaded_once(make_cache: MakeCache) -> None:
    cache, loader = make_cache(), Loader({"a": [1, None]})

    assert cache.get("k") is None
    assert cache.get("k", 7) == 7
    assert cache.get_or_load("k", loader) == {"a": [1, None]}
    assert cache.get_or_load("k", loader) == {"a": [1, None]}
    assert cache.get("k") == {"a": [1, None]}
    assert loader.calls == 1


def test_two_caches_of_one_name_share_values_and_of_two_names_do_not(
    make_cache: MakeCache,
) -> None:
    make_cache("one").set("k", 1)

    assert make_cache("one").get("k") == 1
    assert make_cache("two").get("k") is None


def test_a_load_gives_what_a_hit_gives(make_cache: MakeCache) -> None:
    """What JSON makes of a value is seen at once, not only by the second to ask."""
    cache = make_cache()

    assert cache.get_or_load("k", lambda: {1: (2, 3)}) == {"1": [2, 3]}


def test_callers_cannot_change_what_others_get(make_cache: MakeCache) -> None:
    cache = make_cache()
    cache.get_or_load("k", lambda: [1]).append(2)

    assert cache.get("k") == [1]


@pytest.mark.parametrize(
    ("codec", "value"), [("json", "ü\ud800"), ("msgpack", {1: b"\0"}), ("bytes", b"\0\xff")]
)
def test_codecs_bring_values_back(make_cache: MakeCache, codec: str, value: Any) -> None:
    cache = make_cache(codec=codec)
    cache.set("k", value)

    assert cache.get("k") == value


def test_a_codec_of_ones_own(make_cache: MakeCache) -> None:
    class Text:
        def encode(self, value: Any, /) -> bytes:
            return str(value).encode()

        def decode(self, data: bytes, /) -> Any:
            return int(data)

    cache = make_cache(codec=Text())
    assert cache.get_or_load("k", lambda: 12) == 12
    assert cache.get("k") == 12


@pytest.mark.parametrize(("codec", "value"), [("json", object()), ("bytes", "text")])
def test_what_cannot_be_encoded_is_the_callers_error(
    make_cache: MakeCache, codec: str, value: Any
) -> None:
    cache = make_cache(codec=codec)

    with pytest.raises(TypeError):
        cache.set("k", value)
    with pytest.raises(TypeError):
        cache.get_or_load("k", lambda: value)


def test_what_cannot_be_decoded_is_loaded_again(make_cache: MakeCache) -> None:
    make_cache(codec="bytes").set("k", b"no JSON")
    cache = make_cache()

    assert cache.get("k") is None
    make_cache(codec="bytes").set("k", b"no JSON")
    assert cache.get_or_load("k", lambda: 1) == 1
    assert cache.get("k") == 1


def test_values_expire(make_cache: MakeCache, time: Time) -> None:
    cache = make_cache(ttl_s=10)
    cache.set("k", 1)
    cache.set("longer", 1, ttl_s=100)
    cache.get_or_load("loaded", lambda: Loaded(value=1, ttl_s=5))

    time.now_s += 9.9
    assert (cache.get("k"), cache.get("longer"), cache.get("loaded")) == (1, 1, None)
    time.now_s += 0.1
    assert (cache.get("k"), cache.get("longer")) == (None, 1)


def test_a_value_without_a_ttl_stays(make_cache: MakeCache, time: Time) -> None:
    cache = make_cache(refresh_ahead=0.5)
    cache.set("k", 1)
    time.now_s += 1e9

    assert cache.get_or_load("k", fail) == 1


def test_what_comes_from_the_future_has_expired(make_cache: MakeCache, time: Time) -> None:
    """The wall clock was set back: nobody knows how old it is."""
    cache = make_cache(ttl_s=10)
    cache.set("k", 1)
    time.now_s -= 100

    assert cache.get("k") is None
    assert cache.get_or_load("k", lambda: 2) == 2


def test_jitter_takes_off_a_share_at_most(make_cache: MakeCache, time: Time) -> None:
    cache = make_cache(ttl_s=100, jitter=0.5)
    for number in range(40):
        cache.set(number, 1)

    time.now_s += 49.9
    assert all(cache.get(number) for number in range(40))
    time.now_s += 45
    assert any(cache.get(number) is None for number in range(40))


def test_stale_values_are_given_while_one_is_loaded(make_cache: MakeCache, time: Time) -> None:
    cache, loader = make_cache(ttl_s=10, stale_s=10), Loader("new")
    cache.set("k", "old")
    time.now_s += 15

    assert cache.get("k") is None
    assert cache.get_or_load("k", loader) == "old"
    wait_until(lambda: cache.get("k") == "new")
    assert loader.calls == 1
    assert cache.statistics().hits_stale == cache.statistics().refreshes == 1


def test_a_stale_value_is_not_given_for_ever(make_cache: MakeCache, time: Time) -> None:
    cache = make_cache(ttl_s=10, stale_s=10)
    cache.set("k", "old")
    time.now_s += 20

    assert cache.get_or_load("k", lambda: "new") == "new"


def test_refresh_ahead_of_expiry(make_cache: MakeCache, time: Time) -> None:
    cache, loader = make_cache(ttl_s=10, refresh_ahead=0.8), Loader("new")
    cache.set("k", "old")
    time.now_s += 7
    assert cache.get_or_load("k", fail) == "old"
    time.now_s += 2

    assert cache.get_or_load("k", loader) == "old"
    wait_until(lambda: cache.get("k") == "new")
    assert loader.calls == 1


def test_stale_if_error(make_cache: MakeCache, time: Time) -> None:
    cache, loader = make_cache(ttl_s=10, stale_if_error_s=10), Loader(OSError("down"))
    cache.set("k", "old")
    time.now_s += 15

    assert cache.get_or_load("k", loader) == "old"
    assert loader.calls == 1
    time.now_s += 5
    with pytest.raises(OSError, match="down"):
        cache.get_or_load("k", loader)
    assert cache.statistics().hits_on_error == 1
    assert cache.statistics().load_failures == 2


def test_errors_are_raised_as_they_are_and_not_kept(make_cache: MakeCache) -> None:
    cache, loader = make_cache(), Loader(KeyError("x"), "value")

    with pytest.raises(KeyError, match="x"):
        cache.get_or_load("k", loader)
    assert cache.get_or_load("k", loader) == "value"


def test_failures_are_kept_for_a_while_if_asked(make_cache: MakeCache, time: Time) -> None:
    cache, loader = make_cache(negative_ttl_s=5), Loader(KeyError("x"), "value")

    with pytest.raises(KeyError):
        cache.get_or_load("k", loader)
    with pytest.raises(LoadFailed, match="KeyError: 'x'"):
        cache.get_or_load("k", loader)
    assert cache.get("k") is None
    assert cache.statistics().hits_negative == 1
    time.now_s += 5
    assert cache.get_or_load("k", loader) == "value"


def test_only_the_errors_that_were_named_are_kept(make_cache: MakeCache) -> None:
    cache = make_cache(negative_ttl_s=5, negative_errors=(KeyError,))
    loader = Loader(ValueError("x"), "value")

    with pytest.raises(ValueError, match="x"):
        cache.get_or_load("k", loader)
    assert cache.get_or_load("k", loader) == "value"


def test_a_stale_value_is_worth_more_than_a_kept_failure(make_cache: MakeCache, time: Time) -> None:
    cache = make_cache(ttl_s=10, stale_if_error_s=100, negative_ttl_s=5)
    cache.set("k", "old")
    time.now_s += 15

    assert cache.get_or_load("k", Loader(OSError())) == "old"
    assert cache.get_or_load("k", Loader(OSError())) == "old"


def test_tags(make_cache: MakeCache) -> None:
    cache = make_cache()
    cache.set("a", 1, tags=["red", "blue"])
    cache.get_or_load("b", lambda: Loaded(value=2, tags=["blue"]))
    cache.get_or_load("c", lambda: 3, tags=["red"])

    cache.invalidate(tag="blue")
    assert [cache.get(key) for key in "abc"] == [None, None, 3]
    cache.set("a", 4, tags=["blue"])
    assert cache.get("a") == 4


@pytest.mark.parametrize("forget", ["delete", "invalidate", "clear", "set"])
def test_what_happens_during_a_load_counts_for_more(make_cache: MakeCache, forget: str) -> None:
    cache = make_cache()
    other = make_cache()  # shares nothing but the store, as another process would

    def loader() -> str:
        match forget:
            case "delete":
                other.delete("k")
            case "invalidate":
                other.invalidate(tag="t")
            case "clear":
                other.clear()
            case "set":
                other.set("k", "set")
        return "old"

    assert cache.get_or_load("k", loader, tags=["t"]) == "old"
    assert cache.get("k") == ("set" if forget == "set" else None)


def test_who_asks_after_a_delete_does_not_get_what_was_being_loaded(
    make_cache: MakeCache,
) -> None:
    cache = make_cache(patience_s=0)
    begun, go_on = _sync.Event(), _sync.Event()
    results: list[str] = []

    def slow() -> str:
        begun.set()
        assert go_on.wait(PATIENCE_S)
        return "old"

    thread = _sync.spawn(lambda: results.append(cache.get_or_load("k", slow)), name="slow")
    assert begun.wait(PATIENCE_S)
    cache.delete("k")
    assert cache.get_or_load("k", lambda: "new") == "new"
    go_on.set()
    thread.join(PATIENCE_S)

    assert results == ["old"]
    assert cache.get("k") == "new"


def test_delete_and_clear(make_cache: MakeCache) -> None:
    cache = make_cache()
    cache.set("a", 1)
    cache.set("b", 1)

    assert cache.delete("a")
    assert not cache.delete("a")
    cache.clear()
    assert cache.get("b") is None
    assert cache.statistics().entries == 0


def test_threads_load_once(make_cache: MakeCache) -> None:
    cache, gate = make_cache(), _sync.Semaphore(0)
    results, calls = [], []

    def loader() -> int:
        calls.append(1)
        assert gate.acquire(timeout=PATIENCE_S)
        return 5

    threads = [
        _sync.spawn(lambda: results.append(cache.get_or_load("k", loader)), name="caller")
        for _ in range(8)
    ]
    wait_until(lambda: cache.statistics().joined == 7)
    gate.release()
    for thread in threads:
        thread.join(PATIENCE_S)

    assert results == [5] * 8
    assert len(calls) == 1


@pytest.mark.anyio
async def test_tasks_load_once_and_their_loop_goes_on(make_cache: MakeCache) -> None:
    cache, gate, calls, results = make_cache(), anyio.Event(), [], []

    async def loader() -> int:
        calls.append(1)
        await gate.wait()
        return 5

    async def ask() -> None:
        results.append(await cache.aget_or_load("k", loader))

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(ask)
        while not calls:
            await anyio.lowlevel.checkpoint()
        gate.set()

    assert results == [5] * 8
    assert len(calls) == 1
    assert cache.get("k") == 5


@pytest.mark.anyio
async def test_a_plain_loader_runs_in_a_thread(make_cache: MakeCache) -> None:
    cache, here = make_cache(), _sync.current_thread_id()

    assert await cache.aget_or_load("k", _sync.current_thread_id) != here


@pytest.mark.anyio
async def test_a_failing_load_in_a_task(make_cache: MakeCache, time: Time) -> None:
    cache = make_cache(ttl_s=10, stale_if_error_s=10)

    async def loader() -> int:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await cache.aget_or_load("k", loader)
    cache.set("k", "old")
    time.now_s += 15
    assert await cache.aget_or_load("k", loader) == "old"


@pytest.mark.anyio
async def test_a_stale_value_is_refreshed_in_a_task(make_cache: MakeCache, time: Time) -> None:
    cache = make_cache(ttl_s=10, stale_s=10)
    cache.set("k", "old")
    time.now_s += 15

    async def loader() -> str:
        return "new"

    assert await cache.aget_or_load("k", loader) == "old"
    await await_until(lambda: cache.get("k") == "new")


def held_elsewhere(cache: SharedCache[Any]) -> Any:
    """The lock of the key "k", as if another process were loading it."""
    from lmi_runtime.caches.shared.keys import canonical_key
    from lmi_runtime.caches.shared.loading import lock_number

    place = cache._vault.place()
    assert place is not None
    held = place.locks.try_lock(lock_number(canonical_key("k")))
    assert held is not None
    return held


@pytest.mark.anyio
async def test_a_task_waits_for_another_process_without_blocking_its_loop(
    make_cache: MakeCache,
) -> None:
    cache, other = make_cache(), make_cache()
    held = held_elsewhere(other)
    results: list[int] = []

    async def ask() -> None:
        results.append(await cache.aget_or_load("k", fail))

    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            for _ in range(10):
                await anyio.sleep(0.001)
            assert results == []
            other.set("k", 5)
            held.release()

    assert results == [5]
    assert cache.statistics().loaded_elsewhere == 1


@pytest.mark.anyio
async def test_who_gives_up_while_another_process_loads_leaves_nothing_behind(
    make_cache: MakeCache,
) -> None:
    cache = make_cache()
    held = held_elsewhere(make_cache())

    with pytest.raises(LoadTimeout):
        await cache.aget_or_load("k", fail, timeout_s=0.02)
    held.release()

    assert await cache.aget_or_load("k", lambda: 1) == 1


def test_a_thread_waits_for_another_process_no_longer_than_it_may(make_cache: MakeCache) -> None:
    cache = make_cache()
    held = held_elsewhere(make_cache())

    with pytest.raises(LoadTimeout):
        cache.get_or_load("k", fail, timeout_s=0.02)
    held.release()

    assert cache.get_or_load("k", lambda: 1) == 1


def test_what_outlives_its_request_has_no_deadline_of_it(make_cache: MakeCache) -> None:
    cache = make_cache(patience_s=0.02)
    held = held_elsewhere(make_cache())

    def outlive() -> Any:
        serve(deadline_s=_sync.monotonic() - 1).end()
        return cache.get_or_load("k", lambda: 1)

    assert Context().run(outlive) == 1
    held.release()


def test_patience_with_another_process_ends(make_cache: MakeCache) -> None:
    cache = make_cache(patience_s=0.02)
    held = held_elsewhere(make_cache())

    assert cache.get_or_load("k", lambda: 1) == 1
    held.release()


def test_an_old_value_is_given_if_the_load_is_late(make_cache: MakeCache, time: Time) -> None:
    cache = make_cache(ttl_s=10, stale_if_error_s=10)
    cache.set("k", "old")
    time.now_s += 15
    held = held_elsewhere(cache)

    assert cache.get_or_load("k", fail, timeout_s=0.02) == "old"
    held.release()


def test_nobody_refreshes_what_another_process_is_refreshing(
    make_cache: MakeCache, time: Time
) -> None:
    cache = make_cache(ttl_s=10, stale_s=10)
    cache.set("k", "old")
    time.now_s += 15
    held = held_elsewhere(cache)

    assert cache.get_or_load("k", fail) == "old"
    assert cache.statistics().refreshes == 0
    held.release()


def test_a_failed_refresh_is_not_tried_again_at_once(make_cache: MakeCache, time: Time) -> None:
    cache, loader = make_cache(ttl_s=10, stale_s=10), Loader(OSError("down"))
    cache.set("k", "old")
    time.now_s += 15

    assert cache.get_or_load("k", loader) == "old"
    wait_until(lambda: cache.statistics().load_failures == 1)
    wait_until(lambda: cache.statistics().loading == 0)
    assert cache.get_or_load("k", loader) == "old"

    assert loader.calls == cache.statistics().refreshes == 1


def test_a_load_that_needs_itself_is_told_so(make_cache: MakeCache) -> None:
    cache = make_cache()

    with pytest.raises(ReentrantLoad):
        cache.get_or_load("k", lambda: cache.get_or_load("k", lambda: 1))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"name": "../up"}, ConfigurationError),
        ({"store": "redis"}, ValueError),
        ({"codec": "pickle"}, ValueError),
        ({"max_bytes": 1000}, ValueError),
        ({"ttl_s": -1}, ValueError),
    ],
)
def test_arguments_are_checked(
    make_cache: MakeCache, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        make_cache(**options)


def test_statistics(make_cache: MakeCache) -> None:
    cache = make_cache(max_bytes=2 << 20)
    cache.get_or_load("k", lambda: 1)
    cache.get("k")

    facts = cache.statistics()
    assert (facts.hits, facts.misses, facts.loads, facts.entries) == (1, 1, 1, 1)
    assert facts.hit_ratio == 0.5
    assert 0 < facts.used_bytes <= facts.max_bytes == 2 << 20
    assert facts.store_failures == facts.store_resets == 0
