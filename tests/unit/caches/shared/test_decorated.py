"""Functions whose results a shared cache keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lmi_runtime.caches import SharedCache, cached

MakeCache = Callable[..., SharedCache[Any]]


def test_results_of_a_function_are_shared(make_cache: MakeCache) -> None:
    calls: list[int] = []

    def declare(cache: SharedCache[Any]) -> Any:
        """The same function in another process."""

        @cached(cache=cache, tags=["t"])
        def function(a: int, b: int = 2, *, named: str = "x") -> list[Any]:
            calls.append(a)
            return [a, b, named]

        return function

    one, other = declare(make_cache()), declare(make_cache())
    assert one(1) == other(1, 2) == other(1, b=2, named="x") == [1, 2, "x"]
    assert one(1, named="y") == other(1, named="y") == [1, 2, "y"]
    assert calls == [1, 1]

    assert other.invalidate(1)
    assert not other.invalidate(1)
    one(1)
    make_cache().invalidate(tag="t")
    other(1)
    assert len(calls) == 4


def test_two_functions_of_one_cache_have_keys_of_their_own(make_cache: MakeCache) -> None:
    cache = make_cache()

    @cached(cache=cache)
    def one(number: int) -> str:
        return "one"

    @cached(cache=cache)
    def two(number: int) -> str:
        return "two"

    assert (one(1), two(1)) == ("one", "two")


@pytest.mark.anyio
async def test_results_of_a_coroutine_function_are_shared(make_cache: MakeCache) -> None:
    calls: list[int] = []

    @cached(cache=make_cache())
    async def function(number: int) -> int:
        calls.append(number)
        return number

    assert [await function(1), await function(1)] == [1, 1]
    assert calls == [1]


def test_arguments_that_mean_nothing_elsewhere_are_refused(make_cache: MakeCache) -> None:
    @cached(cache=make_cache())
    def function(thing: object) -> int:
        return 1

    with pytest.raises(TypeError, match="key of a shared cache"):
        function(object())


def test_methods_need_a_key_that_says_which_instance(make_cache: MakeCache) -> None:
    """What an instance is, no other process knows."""
    cache = make_cache()

    class Shop:
        name = "one"

        @cached(cache=cache)
        def method(self) -> int:
            return 1

        @cached(cache=cache, key=lambda shop: shop.name)
        def by_name(self) -> str:
            return self.name

    with pytest.raises(TypeError, match="key of a shared cache"):
        Shop().method()
    assert Shop().by_name() == Shop().by_name() == "one"
