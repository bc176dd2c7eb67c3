"""Each tenant has keys of its own, and room of its own."""

from __future__ import annotations

from contextvars import Context, ContextVar
from typing import Any

import pytest

from lmi_runtime.caches import Cache
from tests.unit.caches.tools import Call, Gate, serve, until


def as_tenant(tenant_id: str | None, function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call `function` in a request of a tenant."""

    def call() -> Any:
        serve(tenant_id=tenant_id)
        return function(*args, **kwargs)

    return Context().run(call)


def test_no_tenant_sees_the_values_of_another() -> None:
    cache: Cache[str] = Cache(partition="tenant")
    for tenant in ("a", "b", None):
        as_tenant(tenant, cache.set, "k", f"of {tenant}")
    cache.set("k", "of nobody's request")

    assert [as_tenant(tenant, cache.get, "k") for tenant in ("a", "b", "c")] == [
        "of a",
        "of b",
        None,
    ]
    assert as_tenant("a", cache.delete, "k")
    assert as_tenant("b", cache.get, "k") == "of b"
    assert as_tenant("a", cache.__contains__, "k") is False
    assert cache.get("k") == "of nobody's request"


def test_no_tenant_waits_for_the_load_of_another() -> None:
    cache: Cache[str] = Cache(partition="tenant")
    gate = Gate("of a")
    loading = Call(lambda: as_tenant("a", cache.get_or_load, "k", gate))
    gate.wait_begun()

    assert as_tenant("b", cache.get_or_load, "k", lambda: "of b") == "of b"
    gate.go()
    assert loading.result() == "of a"


def test_what_a_load_asks_other_caches_for_is_still_its_tenants() -> None:
    """A load runs outside its request; its values must not end up where all tenants look."""
    outer: Cache[str] = Cache(partition="tenant")
    inner: Cache[str] = Cache(partition="tenant")

    def load(tenant: str) -> str:
        return outer.get_or_load("k", lambda: inner.get_or_load("k", lambda: f"of {tenant}"))

    assert as_tenant("a", load, "a") == "of a"
    assert as_tenant("b", load, "b") == "of b"
    assert inner.get("k") is None


def test_a_tenant_that_floods_the_cache_floods_its_own_part() -> None:
    cache: Cache[int] = Cache(max_size=100, partition="tenant")
    for tenant in ("a", "b", "c"):
        for key in range(25):
            as_tenant(tenant, cache.set, key, key)
    for key in range(1_000):
        as_tenant("flood", cache.set, key, key)

    for tenant in ("a", "b", "c"):
        assert sum(as_tenant(tenant, cache.__contains__, key) for key in range(25)) == 25
    assert cache.statistics().size == 100
    assert cache.statistics().partitions == 4


def test_a_newcomer_gets_room_from_who_holds_most() -> None:
    cache: Cache[int] = Cache(max_size=100, partition="tenant")
    for key in range(100):
        as_tenant("first", cache.set, key, key)
    for key in range(50):
        as_tenant("second", cache.set, key, key)
    for key in range(10):
        as_tenant("third", cache.set, key, key)

    held = {
        tenant: sum(as_tenant(tenant, cache.__contains__, key) for key in range(100))
        for tenant in ("first", "second", "third")
    }
    assert held["third"] == 10
    assert held["first"] + held["second"] == 90
    assert abs(held["first"] - held["second"]) <= 1


def test_a_quota_holds_even_if_there_is_room() -> None:
    cache: Cache[int] = Cache(max_size=100, partition="tenant", quota=5)
    for key in range(50):
        as_tenant("a", cache.set, key, key)

    assert len(cache) == 5


def test_tags_and_clear_are_for_all_partitions() -> None:
    cache: Cache[int] = Cache(partition="tenant")
    for tenant in ("a", "b"):
        as_tenant(tenant, cache.set, "k", 1, tags=["t"])

    assert as_tenant("c", cache.invalidate, tag="t") == 2
    assert cache.statistics().partitions == 0


def test_a_function_may_say_whose_part_is_used() -> None:
    region: ContextVar[str] = ContextVar("region", default="eu")
    cache: Cache[int] = Cache(partition=region.get)
    cache.set("k", 1)
    region.set("us")
    cache.set("k", 2)

    assert cache.get("k") == 2
    region.set("eu")
    assert cache.get("k") == 1


def test_what_says_nothing_is_refused() -> None:
    with pytest.raises(TypeError, match="partition"):
        Cache(partition="customer")  # type: ignore[arg-type]


def test_hits_of_each_tenant_refresh_their_own() -> None:
    cache: Cache[str] = Cache(ttl_s=0.0, stale_s=1_000, partition="tenant")
    as_tenant("a", cache.set, "k", "old")
    as_tenant("b", cache.set, "k", "old")

    as_tenant("a", cache.get_or_load, "k", lambda: "new")
    until(lambda: cache.statistics().loads == 1)

    assert as_tenant("b", cache.get_or_load, "k", lambda: "newer") == "old"
