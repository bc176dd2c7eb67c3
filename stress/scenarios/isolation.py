"""Where the integrations keep other libraries' state, and how they get it there."""

from __future__ import annotations

import asyncio
import copy
import sys
from contextvars import Context
from types import ModuleType
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.context import peek
from lmi_runtime.integrations import helper_threads, importing
from lmi_runtime.integrations.patching import Change, Patcher, Swaps
from lmi_runtime.integrations.scopes import PerContext, PerScope, Scope
from stress.scenarios.scenario import Budget, Scenario, State
from stress.scenarios.serving import fine, requests, serves

__all__ = [
    "changes_made_once",
    "first_value_of_a_request",
    "plain_pools",
    "plain_threads",
    "state_of_calls",
    "state_of_contexts",
    "state_of_requests",
    "state_of_tasks_beside_threads",
    "state_outside_requests",
]

_WATCHED = ("lmi_runtime.integrations",)
_CALL = Scope("call of a scenario")


def _library(**attributes: Any) -> Any:
    """A class of a library whose one instance has been there since its import."""

    class Library:
        def __init__(self) -> None:
            self.keys = ["base"]
            self.level = "base"

    library = Library()
    for name, attribute in attributes.items():
        setattr(Library, name, attribute)
    return library


def _with_library(*names: str, **attributes: Any) -> State:
    state = requests(*names)
    state.library = _library(**attributes)
    return state


def _per_request() -> State:
    return _with_library("a", "b", keys=PerScope("keys", copy.copy))


def _unchanged(state: State) -> None:
    fine(state)
    assert vars(state.library)["keys"] == ["base"], vars(state.library)


def _adds(state: State, mine: str) -> None:
    state.library.keys.append(mine)
    state.seen.append((["base", mine], list(state.library.keys)))


def _adds_and_starts(state: State, mine: str) -> None:
    _adds(state, mine)
    helper = _sync.Thread(target=lambda: state.seen.append((["base", mine], state.library.keys)))
    helper.start()
    helper.join()


async def _adds_between_waits(state: State, mine: str) -> None:
    _adds(state, mine)
    await asyncio.sleep(0)
    state.seen.append((["base", mine], state.library.keys))


def state_of_requests() -> Scenario:
    """What requests put into one object of a library is theirs, and their helper threads'."""
    helper_threads.carry_requests()
    both = serves("a", _adds_and_starts), serves("b", _adds)
    return Scenario(_per_request, both, _unchanged, _WATCHED, Budget(preemptions=1))


def state_of_tasks_beside_threads() -> Scenario:
    """The same for a request in a task while another is served by a thread."""
    both = serves("a", _adds_between_waits), serves("b", _adds)
    return Scenario(_per_request, both, _unchanged, _WATCHED)


def first_value_of_a_request() -> Scenario:
    """Threads of one request that are the first to look find one value; none is lost."""

    def adds(state: State) -> None:
        context = Context()
        context.run(state.enter)
        context.run(state.library.__getattribute__, "keys").append("x")

    def one(state: State) -> None:
        context = Context()
        context.run(state.enter)
        found = context.run(state.library.__getattribute__, "keys")
        assert found == ["base", "x", "x"], found
        assert vars(state.library)["keys"] == ["base"]

    def setup() -> State:
        from lmi_runtime.context import enter

        state = _per_request()
        state.enter = lambda: enter(state.requests["a"])
        return state

    watched = (*_WATCHED, "lmi_runtime.context")
    return Scenario(setup, (adds, adds), one, watched)


def state_outside_requests() -> Scenario:
    """Threads that serve no request have state of their own, too."""

    def adds(state: State) -> None:
        Context().run(_adds, state, "x")

    return Scenario(_per_request, (adds, adds), _unchanged, _WATCHED)


def state_of_calls() -> Scenario:
    """Calls that one request gathers have state of their own, and the request has its."""

    def setup() -> State:
        return _with_library("a", keys=PerScope("keys", copy.copy, scope=_CALL))

    async def call(state: State, mine: str) -> None:
        with _CALL.opened():
            state.library.keys = ["base"]
            await asyncio.sleep(0)
            await _adds_between_waits(state, mine)

    async def request(state: State, mine: str) -> None:
        state.library.keys.append(mine)
        await asyncio.gather(call(state, "1"), call(state, "2"))
        state.seen.append((["base", mine], state.library.keys))

    return Scenario(setup, (serves("a", request),), _unchanged, _WATCHED)


def state_of_contexts() -> Scenario:
    """What a task or thread sets is its own and its children's; siblings never see it."""

    def setup() -> State:
        return _with_library("a", "b", level=PerContext("level"))

    async def child(state: State, mine: str) -> None:
        state.seen.append((mine[0], state.library.level))
        state.library.level = mine
        await asyncio.sleep(0)
        state.seen.append((mine, state.library.level))

    async def task(state: State, mine: str) -> None:
        state.library.level = mine
        await asyncio.gather(child(state, f"{mine}1"), child(state, f"{mine}2"))
        state.seen.append((mine, state.library.level))

    def thread(state: State, mine: str) -> None:
        state.seen.append(("base", state.library.level))
        state.library.level = mine
        state.seen.append((mine, state.library.level))

    def kept(state: State) -> None:
        fine(state)
        assert vars(state.library)["level"] == "base"

    return Scenario(setup, (serves("a", task), serves("b", thread)), kept, _WATCHED)


def _looks(state: State, mine: str) -> None:
    """Note whom the calling thread serves: its request, until that has ended."""
    request = peek()
    is_over = state.requests[mine].ended
    name = request.request_id if request is not None else mine if is_over else None
    state.seen.append((mine, name))


def plain_threads() -> Scenario:
    """A thread serves the request that it was started in, and nobody when that has ended."""
    helper_threads.carry_requests()

    def starts(state: State, mine: str) -> None:
        _sync.Thread(target=_looks, args=(state, mine)).start()

    both = serves("a", starts), serves("b", starts)
    return Scenario(lambda: requests("a", "b"), both, fine, _WATCHED)


def plain_pools() -> Scenario:
    """A call in a pool serves the request that submitted it, whoever's the thread was before."""
    helper_threads.carry_requests()

    def setup() -> State:
        state = requests("a", "b")
        state.pool = _sync.ThreadPoolExecutor(1)
        state.over = _sync.Counter()
        return state

    def submits(state: State, mine: str) -> None:
        state.pool.submit(_looks, state, mine)
        if state.over.add() == 2:
            state.pool.shutdown()

    both = serves("a", submits), serves("b", submits)
    return Scenario(setup, both, fine, _WATCHED, Budget(preemptions=1))


_MODULE = "stress_scenarios_library"


def change(module: ModuleType, swaps: Swaps) -> None:
    """Change the library of `changes_made_once`."""
    call = swaps.function(module, "call", "state")
    module.changes.append(1)
    swaps.put(module, "call", lambda state: call(state) + 1)


def changes_made_once() -> Scenario:
    """Whoever arms a change, and whoever imports at that time: it is made once."""
    row = Change("Library", _MODULE, f"{__name__}:change")
    importing.when_imported(_MODULE, lambda module: None)  # the first of a process inserts a finder

    def setup() -> State:
        state = State()
        sys.modules.pop(_MODULE, None)
        importing._finder._callbacks.pop(_MODULE, None)
        module: Any = ModuleType(_MODULE)
        module.changes = []
        module.call = lambda state: 0
        state.module = module
        state.patcher = Patcher("Library")
        return state

    def arms(state: State) -> None:
        state.patcher.arm([row])

    def imports(state: State) -> None:
        sys.modules[_MODULE] = state.module
        importing._finder.imported(state.module)

    def once(state: State) -> None:
        del sys.modules[_MODULE]
        assert state.module.changes == [1], state.module.changes
        assert state.module.call(state) == 1
        assert state.patcher.report().patched == ("Library",), state.patcher.report()

    return Scenario(setup, (arms, arms, imports), once, _WATCHED, Budget(preemptions=1))
