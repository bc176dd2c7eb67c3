"""State that other libraries keep in one object, kept for each request instead."""

from __future__ import annotations

import asyncio
import threading
from contextvars import Context, copy_context
from typing import Any

import pytest

from lmi_runtime.context import spawn_thread
from lmi_runtime.integrations.scopes import PROCESS, PerContext, PerScope, Scope, holder
from tests.support.crowd import COUNT, TaskCrowd, ThreadCrowd

calls = Scope("calls")


class Library:
    """As libraries are written: everything in one object."""

    def __init__(self) -> None:
        self.items: list[str] = ["base"]
        self.keys: dict[str, object] = {"service": "base"}
        self.batch: list[int] = []


# Put on afterwards, as on a class that somebody else wrote.
before = Library()
Library.items = PerScope("items", list)  # type: ignore[assignment]
Library.batch = PerScope("batch", lambda _: [], scope=calls)  # type: ignore[assignment]
Library.keys = PerContext("keys")  # type: ignore[assignment]


class Derived(Library):
    """A user's."""


@pytest.fixture(params=["there before", "made later", "derived"])
def library(request: pytest.FixtureRequest) -> Library:
    if request.param == "derived":
        return Derived()
    made = Library() if request.param == "made later" else before
    made.items, made.keys, made.batch = ["base"], {"service": "base"}, []
    return made


@pytest.mark.parametrize("bare", [False, True])
class TestManyAtOnce:
    def test_threads_have_values_of_their_own(self, library: Library, bare: bool) -> None:
        crowd = ThreadCrowd(bare=bare)

        def handle(number: int) -> tuple[Any, ...]:
            library.items.append(f"mine {number}")
            library.keys = {**library.keys, "user": number}
            crowd.meet()
            return list(library.items), library.keys

        expected = [
            (["base", f"mine {number}"], {"service": "base", "user": number})
            for number in range(COUNT)
        ]
        assert crowd.serve(handle) == expected
        assert library.items == ["base"]
        assert library.keys == {"service": "base"}

    def test_tasks_have_values_of_their_own(self, library: Library, bare: bool) -> None:
        crowd = TaskCrowd(bare=bare)

        async def handle(number: int) -> tuple[Any, ...]:
            library.items.append(f"mine {number}")
            library.keys = {**library.keys, "user": number}
            await crowd.meet()
            return list(library.items), library.keys

        expected = [
            (["base", f"mine {number}"], {"service": "base", "user": number})
            for number in range(COUNT)
        ]
        assert crowd.serve(handle) == expected

    def test_child_tasks_share_a_scope_and_inherit_a_context(
        self, library: Library, bare: bool
    ) -> None:
        crowd = TaskCrowd(8, bare=bare)

        async def handle(number: int) -> tuple[Any, ...]:
            library.items.append("parent")
            library.keys = {"of": number}

            async def child() -> object:
                library.items.append("child")
                seen = library.keys
                library.keys = {"of": "child"}
                await crowd.meet()
                return seen

            seen = await asyncio.create_task(child())
            return library.items, seen, library.keys

        for number, (items, seen, keys) in enumerate(crowd.serve(handle)):
            assert items == ["base", "parent", "child"]
            assert seen == keys == {"of": number}

    def test_helper_threads_see_what_their_request_set(self, library: Library, bare: bool) -> None:
        crowd = ThreadCrowd(8, bare=bare)

        def handle(number: int) -> tuple[Any, ...]:
            library.items.append(f"mine {number}")
            library.keys = {"of": number}
            seen: list[Any] = []

            def help_out() -> None:
                library.items.append("helped")
                seen.append(library.keys)
                library.keys = {"of": "helper"}

            crowd.meet()
            spawn_thread(help_out).join()
            return library.items, seen, library.keys

        for number, (items, seen, keys) in enumerate(crowd.serve(handle)):
            assert items == ["base", f"mine {number}", "helped"]
            assert seen == [{"of": number}]
            assert keys == {"of": number}


def test_calls_of_one_request_have_places_of_their_own(library: Library) -> None:
    crowd = TaskCrowd(1)

    async def handle(_: int) -> tuple[Any, ...]:
        meeting = asyncio.Barrier(5)

        async def one(number: int) -> list[int]:
            with calls.opened():
                library.batch.append(number)
                await meeting.wait()
                with calls.opened():
                    library.batch.append(-1)
                return library.batch

        batches = await asyncio.gather(*map(one, range(5)))
        return batches, library.batch

    assert crowd.serve(handle) == [([[0], [1], [2], [3], [4]], [])]


def test_a_context_that_serves_a_second_request_starts_anew(library: Library) -> None:
    crowd = ThreadCrowd(1)
    context = Context()

    def handle(number: int) -> object:
        library.keys = {"of": number}
        library.items.append("mine")
        return copy_context()

    [context] = crowd.serve(handle)  # type: ignore[list-item]

    def second(number: int) -> tuple[Any, ...]:
        from lmi_runtime.context import enter
        from tests.support.crowd import request_of

        context.run(enter, request_of(number + 1))
        return context.run(lambda: (library.keys, library.items))

    assert crowd.serve(second) == [({"service": "base"}, ["base"])]


def test_what_is_set_where_modules_are_imported_is_every_requests_base(library: Library) -> None:
    library.items = ["set at import"]
    library.keys = {"set": "at import"}

    assert holder() is PROCESS
    crowd = ThreadCrowd(2)
    assert (
        crowd.serve(lambda _: (library.items, library.keys))
        == [(["set at import"], {"set": "at import"})] * 2
    )


def test_an_attribute_that_nobody_set_is_not_there() -> None:
    bare = Library.__new__(Library)
    for name in ("items", "keys"):
        with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
            getattr(bare, name)
    with pytest.raises(AttributeError):
        del bare.items


def test_a_default_is_made_once_for_the_process() -> None:
    class Plain:
        pass

    Plain.options = PerScope("options", dict, default=dict)  # type: ignore[attr-defined]
    thing: Any = Plain()
    thing.options["kept"] = True
    crowd = ThreadCrowd(2)
    assert crowd.serve(lambda _: thing.options) == [{"kept": True}] * 2


def test_deleting_leaves_a_fresh_value(library: Library) -> None:
    def handle(_: int) -> list[str]:
        library.items.append("mine")
        del library.items
        return library.items

    assert ThreadCrowd(1).serve(handle) == [["base"]]
    del library.items
    with pytest.raises(AttributeError):
        _ = library.items


def test_the_main_thread_inside_a_loop_is_no_import(library: Library) -> None:
    async def main() -> None:
        library.items.append("in a loop")
        assert holder() is not PROCESS
        assert holder() is holder()

    asyncio.run(main())
    assert library.items == ["base"]


def test_a_plain_thread_without_a_request_has_its_own_place(library: Library) -> None:
    seen: list[list[str]] = []

    def body() -> None:
        library.items.append("stray")
        seen.append(library.items)

    for _ in range(2):
        thread = threading.Thread(target=Context().run, args=(body,))
        thread.start()
        thread.join()
    assert seen == [["base", "stray"]] * 2
