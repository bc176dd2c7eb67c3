"""Request-scoped variables: typed, declared once, never seen by another request."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import anyio
import pytest
from contextvars_extras import ContextVarDescriptor
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.context import Request, RequestScope, enter, scoped, spawn_thread
from lmi_runtime.errors import NoActiveRequest, VariableNotSet
from lmi_runtime.model import Invocation
from tests.support.patience import PATIENCE_S
from tests.support.typing_checks import check_types

if TYPE_CHECKING:
    from nowhere import Unresolvable  # type: ignore[import-not-found]

Make = Callable[..., Request]
Serve = Callable[..., object]


class Scope(RequestScope):
    LIMIT: ClassVar[int] = 3
    plain = "a class attribute"
    user: str
    locale: str = "en"
    cart: list[str] = scoped(list)
    exotic: Unresolvable | None = None

    def greeting(self) -> str:
        return f"{self.locale}:{self.user}"


scope = Scope()


def test_defaults_values_and_methods_inside_a_request(make_request: Make, serve: Serve) -> None:
    def handler() -> None:
        assert (scope.locale, scope.cart, scope.exotic) == ("en", [], None)
        scope.user = "ann"
        scope.locale = "de"
        assert scope.greeting() == "de:ann"
        assert (Scope().user, scope.LIMIT, scope.plain) == ("ann", 3, "a class attribute")

    serve(make_request(), handler)


def test_the_next_request_starts_from_the_defaults(make_request: Make, serve: Serve) -> None:
    def handler(user: str) -> tuple[bool, str, list[str]]:
        before = hasattr(scope, "user"), scope.locale, list(scope.cart)
        scope.user = scope.locale = user
        scope.cart.append(user)
        return before

    for name in ("a", "b"):
        untouched = serve(make_request(name), lambda name=name: handler(name))
        assert untouched == (False, "en", [])


def test_a_context_that_is_used_twice_does_not_leak_either(make_request: Make) -> None:
    """Belt and braces: even a runtime that forgets the fresh context hands nothing over."""
    context = Context()

    context.run(enter, make_request("a"))
    context.run(setattr, scope, "locale", "de")
    context.run(scope.__class__.cart.__get__, scope).append("x")
    context.run(enter, make_request("b"))

    assert context.run(getattr, scope, "locale") == "en"
    assert context.run(getattr, scope, "cart") == []


def test_an_unset_variable_without_default_says_so(make_request: Make, serve: Serve) -> None:
    def handler() -> None:
        with pytest.raises(VariableNotSet, match=r"Scope\.user has not been set"):
            _ = scope.user
        assert getattr(scope, "user", "nobody") == "nobody"

    serve(make_request(), handler)


@pytest.mark.parametrize(
    "use",
    [
        lambda: scope.locale,
        lambda: scope.cart,
        lambda: setattr(scope, "user", "x"),
        lambda: delattr(scope, "user"),
        lambda: hasattr(scope, "user"),
    ],
    ids=["read", "read factory", "set", "delete", "hasattr"],
)
def test_outside_a_request_every_use_is_refused(use: Callable[[], object]) -> None:
    with pytest.raises(NoActiveRequest):
        Context().run(use)


def test_after_the_request_every_use_is_refused(make_request: Make, serve: Serve) -> None:
    request = make_request()

    def handler() -> None:
        scope.user = "ann"
        request.end()
        with pytest.raises(NoActiveRequest, match="answered already"):
            _ = scope.user

    serve(request, handler)


def test_an_unknown_name_is_refused_with_the_known_ones(make_request: Make, serve: Serve) -> None:
    def handler() -> None:
        with pytest.raises(AttributeError, match="'usr'; it has: user, locale, cart, exotic"):
            scope.usr = "typo"  # type: ignore[attr-defined]
        for name in ("LIMIT", "plain"):
            with pytest.raises(AttributeError, match="declares no variable"):
                setattr(scope, name, 4)

    serve(make_request(), handler)


def test_deleting_brings_the_default_back(make_request: Make, serve: Serve) -> None:
    def handler() -> None:
        scope.locale = "de"
        del scope.locale
        assert scope.locale == "en"
        with pytest.raises(VariableNotSet):
            del scope.user

    serve(make_request(), handler)


def test_a_shared_mutable_default_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match=r"Write `= scoped\(list\)`"):

        class Shared(RequestScope):
            cart: list[str] = []  # noqa: RUF012 - the mistake under test


def test_a_subclass_shares_what_it_inherits_and_adds_its_own(
    make_request: Make, serve: Serve
) -> None:
    class Shop(Scope):
        coupon: str = "none"
        locale: str = "fr"

    shop = Shop()

    def handler() -> None:
        shop.user = "ann"
        shop.coupon = "half"
        assert (scope.user, shop.coupon) == ("ann", "half")
        assert (scope.locale, shop.locale) == ("en", "fr")
        with pytest.raises(AttributeError):
            scope.coupon = "no"  # type: ignore[attr-defined]

    serve(make_request(), handler)


def test_setting_never_creates_a_variable(
    make_request: Make, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    First sets from many threads cannot race: what they would race for exists already.

    Creating a variable on first use is check-then-act, and two threads then make two.
    """

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a variable was created after its class")

    monkeypatch.setattr(ContextVarDescriptor, "_new_context_var", forbidden)

    def handler() -> None:
        threads = [spawn_thread(setattr, scope, "user", str(n)) for n in range(4)]
        scope.user = "mine"
        for thread in threads:
            thread.join(PATIENCE_S)
        assert scope.user == "mine"

    serve(make_request(), handler)


def test_threads_copy_what_is_set_and_share_what_a_factory_made(
    make_request: Make, serve: Serve
) -> None:
    views: list[object] = []

    def child() -> None:
        views.append((scope.locale, scope.cart))
        scope.locale = "child"
        scope.cart.append("x")

    def handler() -> None:
        scope.locale = "parent"
        spawn_thread(child).join(PATIENCE_S)
        assert (scope.locale, scope.cart) == ("parent", ["x"])
        assert views == [("parent", scope.cart)]

    serve(make_request(), handler)


@pytest.mark.anyio
async def test_tasks_copy_what_is_set_and_share_what_a_factory_made(make_request: Make) -> None:
    async def child(cart: list[str]) -> None:
        assert scope.locale == "parent"
        assert scope.cart is cart
        scope.locale = "child"

    async def invocation(name: str) -> None:
        enter(make_request(name))
        scope.locale = "parent"
        async with anyio.create_task_group() as children:
            children.start_soon(child, scope.cart)
        scope.cart.append(name)
        await anyio.lowlevel.checkpoint()
        assert (scope.locale, scope.cart) == ("parent", [name])

    async with anyio.create_task_group() as tasks:
        for n in range(10):
            tasks.start_soon(invocation, f"r{n}")


NAMES = ("a", "b", "c")


class Numbers(RequestScope):
    a: int
    b: int = -1
    c: list[int] = scoped(list)


numbers = Numbers()


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(["set", "read", "delete", "append", "next request"]),
            st.sampled_from(NAMES[:2]),
            st.integers(0, 9),
        ),
        max_size=60,
    )
)
def test_interleaved_slots_behave_like_one_dictionary_a_request(
    steps: list[tuple[int, str, str, int]],
) -> None:
    """Four slots take turns; whatever the order, each sees a plain dictionary of its own."""
    contexts = [Context() for _ in range(4)]
    model: list[dict[str, object]] = [{"b": -1, "c": []} for _ in range(4)]
    for slot, context in enumerate(contexts):
        context.run(enter, Request(Invocation(request_id=str(slot))))

    for slot, step, name, value in steps:
        run = contexts[slot].run
        if step == "set":
            run(setattr, numbers, name, value)
            model[slot][name] = value
        elif step == "delete" and run(lambda name=name: _is_set(name)):
            run(delattr, numbers, name)
            model[slot].pop(name)
            model[slot].update({"b": -1} if name == "b" else {})
        elif step == "append":
            run(lambda value=value: numbers.c.append(value))
            model[slot]["c"].append(value)  # type: ignore[attr-defined]
        elif step == "next request":
            # Deliberately the same context: that must not matter.
            run(enter, Request(Invocation(request_id="again")))
            model[slot] = {"b": -1, "c": []}
        found = {n: run(getattr, numbers, n) for n in NAMES if run(hasattr, numbers, n)}
        assert found == model[slot]


def _is_set(name: str) -> bool:
    value = getattr(numbers, name, -1)
    return value != -1


TYPED = """
from typing import assert_type

from lmi_runtime.context import RequestScope, current, scoped


class Scope(RequestScope):
    user: str
    limit: int | None = None
    cart: list[str] = scoped(list)


scope = Scope()
assert_type(scope.user, str)
assert_type(scope.limit, int | None)
assert_type(scope.cart, list[str])
assert_type(current().lambda_context.client_context is None, bool)
"""


@pytest.mark.slow
def test_type_checkers_see_the_declared_types(tmp_path: Path) -> None:
    wrong = {"scope.user = 3": "assignment", "scope.usr = 'x'": "attr-defined"}

    check_types(TYPED, "def misuse() -> None:", wrong, tmp_path)
