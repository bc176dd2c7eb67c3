"""`@cached`: keys of calls, methods, and what the wrapper keeps of the function."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.caches import Cache, cached
from lmi_runtime.caches.keys import is_method, key_maker
from tests.unit.caches.tools import Call, Gate, SetClock, until


class Counted:
    """A function that counts its calls."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __call__(self, *args: Any) -> Any:
        self.calls.append(args)
        return args


def test_a_function_is_called_once_for_each_of_its_arguments() -> None:
    calls = []

    @cached(ttl_s=60)
    def double(n: int) -> int:
        calls.append(n)
        return 2 * n

    assert [double(1), double(2), double(1)] == [2, 4, 2]
    assert calls == [1, 2]


def test_the_decorator_needs_no_options() -> None:
    calls = []

    @cached
    def double(n: int) -> int:
        calls.append(n)
        return 2 * n

    assert (double(1), double(1), calls) == (2, 2, [1])


def test_a_coroutine_function_stays_one() -> None:
    calls = []

    @cached(ttl_s=60)
    async def double(n: int) -> int:
        calls.append(n)
        return 2 * n

    async def main() -> list[int]:
        return await asyncio.gather(double(1), double(1), double(2))

    assert inspect.iscoroutinefunction(double)
    assert asyncio.run(main()) == [2, 2, 4]
    assert asyncio.run(main()) == [2, 2, 4]  # on another loop
    assert calls == [1, 2]


def test_the_wrapper_says_what_the_function_says() -> None:
    @cached(ttl_s=60)
    def double(n: int, *, twice: bool = False) -> int:
        """Two of it."""
        return n

    assert (double.__name__, double.__doc__) == ("double", "Two of it.")  # type: ignore[attr-defined]
    assert list(inspect.signature(double).parameters) == ["n", "twice"]
    assert double.__wrapped__(3) == 3
    assert double.cache.name.endswith("double")


def test_options_are_those_of_the_cache() -> None:
    clock = SetClock()

    @cached(ttl_s=10, max_size=7, name="mine", clock=clock.clock)
    def now() -> float:
        return clock.now

    first = now()
    clock.pass_(9)
    assert now() == first
    clock.pass_(2)
    assert now() == first + 11
    assert now.cache.name == "mine"
    assert now.cache.statistics().max_size == 7


def test_a_result_can_be_forgotten() -> None:
    counted = Counted()

    @cached
    def f(a: int, b: int = 2) -> Any:
        return counted(a, b)

    f(1)
    assert f.invalidate(1, b=2)
    assert not f.invalidate(1)
    f(1, 2)
    assert len(counted.calls) == 2
    assert f.cache.get(f.key_of(a=1)) == (1, 2)


def test_tags_may_be_made_of_the_arguments() -> None:
    @cached(tags=lambda user, **_: [f"user:{user}"])
    def f(user: int, part: str = "") -> int:
        return user

    f(1)
    f(1, part="x")
    f(2)

    assert f.cache.invalidate(tag="user:1") == 2


def test_all_results_may_have_one_tag() -> None:
    @cached(tags=["users"])
    def f(user: int) -> int:
        return user

    f(1)
    f(2)
    assert f.cache.invalidate(tag="users") == 2


def test_concurrent_calls_are_one_call() -> None:
    gate = Gate()

    @cached(ttl_s=60)
    def load() -> Any:
        return gate()

    calls = [Call(load) for _ in range(8)]
    gate.wait_begun()
    until(lambda: load.cache.statistics().joined == 7)
    gate.go()

    assert {call.result() for call in calls} == {"loaded"}
    assert gate.calls == 1


# Keys.


def all_kinds(a: Any, /, b: Any, c: Any = 3, *rest: Any, d: Any = 4, **more: Any) -> Any:
    return a, b, c, rest, d, more


@pytest.mark.parametrize(
    ("function", "one", "same"),
    [
        (lambda a, b: 0, ((1, 2), {}), ((1,), {"b": 2})),
        (lambda a, b: 0, ((), {"a": 1, "b": 2}), ((), {"b": 2, "a": 1})),
        (lambda a, b=2: 0, ((1,), {}), ((1, 2), {})),
        (lambda a, *, b=2: 0, ((1,), {}), ((1,), {"b": 2})),
        (all_kinds, ((1, 2), {}), ((1,), {"b": 2, "d": 4})),
        (all_kinds, ((1, 2), {"x": 1, "y": 2}), ((1, 2, 3), {"y": 2, "x": 1})),
    ],
)
def test_calls_that_mean_the_same_have_one_key(function: Any, one: Any, same: Any) -> None:
    key_of = key_maker(function)

    assert key_of(*one) == key_of(*same)
    assert hash(key_of(*one)) == hash(key_of(*same))


values = st.sampled_from([1, 2, "a", None, (), (1,), ("d", 4)])


@given(
    st.lists(
        st.tuples(
            st.lists(values, min_size=2, max_size=5),
            st.dictionaries(st.sampled_from(["d", "e", "f"]), values),
        ),
        min_size=2,
        max_size=2,
    )
)
def test_calls_have_one_key_if_and_only_if_they_mean_the_same(calls: list[Any]) -> None:
    key_of = key_maker(all_kinds)

    meanings = [repr(all_kinds(*args, **kwargs)) for args, kwargs in calls]
    keys = [key_of(tuple(args), kwargs) for args, kwargs in calls]

    # As text, because 1 == True; more named arguments come in any order.
    sorted_meanings = [
        repr((*all_kinds(*args, **kwargs)[:-1], sorted(all_kinds(*args, **kwargs)[-1].items())))
        for args, kwargs in calls
    ]
    assert (keys[0] == keys[1]) == (sorted_meanings[0] == sorted_meanings[1]), meanings


@pytest.mark.parametrize("typed", [False, True])
def test_types_count_if_asked_for(typed: bool) -> None:
    counted = Counted()

    @cached(typed=typed)
    def f(a: Any, b: Any = 0) -> Any:
        return counted(a)

    for one in (1, 1.0, True):
        f(one)
    f(a=True)

    assert len(counted.calls) == (3 if typed else 1)


def test_a_key_may_be_made_of_the_arguments() -> None:
    counted = Counted()

    @cached(key=lambda event: event["id"])
    def f(event: dict[str, Any]) -> Any:
        return counted(event["id"])

    f({"id": 1, "at": "noon"})
    f({"id": 1, "at": "night"})

    assert len(counted.calls) == 1
    assert f.key_of({"id": 1}) == 1


def test_arguments_that_cannot_be_a_key_are_refused() -> None:
    @cached
    def f(a: Any) -> Any:
        return a

    with pytest.raises(TypeError, match="unhashable"):
        f([])


def test_a_call_that_does_not_fit_is_refused_as_ever() -> None:
    @cached
    def f(a: Any) -> Any:
        return a

    with pytest.raises(TypeError, match="argument"):
        f(1, 2)  # type: ignore[call-arg]


def test_functions_that_share_a_cache_do_not_share_results() -> None:
    cache: Cache[Any] = Cache()

    @cached(cache=cache)
    def f(a: int) -> str:
        return "f"

    @cached(cache=cache)
    async def g(a: int) -> str:
        return "g"

    assert (f(1), asyncio.run(g(1)), f(1)) == ("f", "g", "f")  # type: ignore[arg-type]
    assert len(cache) == 2
    assert f.invalidate(1)
    assert len(cache) == 1


def test_another_kind_of_cache_will_do() -> None:
    class Other:
        """Whatever has the same face."""

        def __init__(self) -> None:
            self.kept: dict[Any, Any] = {}

        def get_or_load(self, key: Any, loader: Any, *, tags: Any = ()) -> Any:
            return self.kept.setdefault(key, loader())

        async def aget_or_load(self, key: Any, loader: Any, *, tags: Any = ()) -> Any:
            return self.kept.setdefault(key, await loader())

        def delete(self, key: Any) -> bool:
            return self.kept.pop(key, None) is not None

    other = Other()

    @cached(cache=other)
    def f(a: int) -> int:
        return a

    @cached(cache=other)
    async def g(a: int) -> int:
        return a

    assert (f(1), asyncio.run(g(2))) == (1, 2)  # type: ignore[arg-type]
    assert inspect.iscoroutinefunction(g)
    assert len(other.kept) == 2
    assert f.invalidate(1)


def test_what_makes_no_sense_is_refused() -> None:
    def generator() -> Iterator[int]:
        yield 1

    async def async_generator() -> AsyncIterator[int]:
        yield 1

    for function in (generator, async_generator):
        with pytest.raises(TypeError, match="generator"):
            cached(function)
    with pytest.raises(TypeError, match="ttl_s"):
        cached(cache=Cache(), ttl_s=60)
    with pytest.raises(TypeError):
        cached(size=3)(abs)  # type: ignore[call-overload]


# Methods.


class Repository:
    """Has methods whose results are kept."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = 0

    @cached(ttl_s=60)
    def find(self, key: int, *, deep: bool = False) -> str:
        """Find it."""
        self.calls += 1
        return f"{self.name}{key}{deep}"

    @cached(ttl_s=60)
    async def afind(self, key: int) -> str:
        self.calls += 1
        return f"{self.name}{key}"

    @classmethod
    @cached
    def of_class(cls, key: int) -> str:
        return f"{cls.__name__}{key}"

    @staticmethod
    @cached
    def of_nobody(key: int) -> str:
        return f"{key}"

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def test_each_instance_has_results_of_its_own() -> None:
    """Even if they are equal, and even if they cannot be hashed."""
    a, b = Repository("a"), Repository("b")

    assert [a.find(1), b.find(1), a.find(key=1), b.find(1, deep=False)] == [
        "a1False",
        "b1False",
        "a1False",
        "b1False",
    ]
    assert (a.calls, b.calls) == (1, 1)
    assert Repository.find.invalidate(a, 1)
    a.find(1)
    b.find(1)
    assert (a.calls, b.calls) == (2, 1)


def test_methods_may_be_coroutine_functions() -> None:
    a = Repository("a")

    assert asyncio.run(a.afind(1)) == asyncio.run(a.afind(1)) == "a1"  # type: ignore[arg-type]
    assert a.calls == 1


def test_class_and_static_methods() -> None:
    assert Repository.of_class(1) == Repository("x").of_class(1) == "Repository1"
    assert Repository.of_nobody(1) == Repository("x").of_nobody(1) == "1"


def test_results_do_not_keep_their_instance_alive() -> None:
    Repository.find.cache.clear()
    instance = Repository("a")
    instance.find(1)
    gone = weakref.ref(instance)
    del instance
    gc.collect()
    assert gone() is None
    other = Repository("b")
    other.find(1)

    assert len(Repository.find.cache) == 1


def test_an_instance_at_the_place_of_a_dead_one_gets_nothing_of_it() -> None:
    for name in map(str, range(200)):
        assert Repository(name).find(1) == f"{name}1False"


def test_instances_that_cannot_be_referred_to_weakly_are_keys_themselves() -> None:
    class Slotted:
        __slots__ = ("name",)

        def __init__(self, name: str) -> None:
            self.name = name

        @cached
        def find(self, key: int) -> str:
            return f"{self.name}{key}"

    a, b = Slotted("a"), Slotted("b")
    assert (a.find(1), b.find(1), a.find(1)) == ("a1", "b1", "a1")


def test_what_is_a_method() -> None:
    def self_made(self: Any) -> Any:
        return self

    assert is_method(Repository.find.__wrapped__)
    assert not is_method(Repository.of_nobody.__wrapped__)
    assert not is_method(self_made)
    assert not is_method(test_what_is_a_method)


def test_what_is_no_function_may_be_cached() -> None:
    class Callable_:
        def __call__(self, n: int) -> int:
            return n

    assert cached(functools.partial(pow, 2))(10) == 1_024
    assert cached(Callable_())(3) == 3


def test_a_function_under_another_decorator_is_called_as_that_one_takes_it() -> None:
    def with_user(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function("user", *args, **kwargs)

        return wrapper

    @cached
    @with_user
    def greet(user: str, word: str) -> str:
        return f"{word} {user}"

    assert greet("hello") == "hello user"
    assert greet(word="hello") == "hello user"
