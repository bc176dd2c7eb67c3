"""What must be right when a process ends: its shutdown hooks, and what it had in flight."""

from __future__ import annotations

from lmi_runtime.handlers import lifecycle
from lmi_runtime.model import Invocation
from lmi_runtime.supervisor.ledger import SharedLedger
from stress.scenarios.scenario import Budget, Scenario, State

__all__ = ["ledger_read_at_any_time", "shutdown_hooks"]


def shutdown_hooks() -> Scenario:
    """Hooks registered by several threads are all kept."""

    def setup() -> State:
        return State()

    def registers(state: State) -> None:
        for _ in range(2):
            lifecycle.on_shutdown(lambda: None)

    def all_once(state: State) -> None:
        hooks = lifecycle._hooks()
        assert len(set(hooks)) == 4, hooks

    return Scenario(setup, (registers, registers), all_once, ("lmi_runtime.handlers.lifecycle",))


def ledger_read_at_any_time() -> Scenario:
    """Whoever reads while the worker is killed anywhere sees whole records only."""

    def setup() -> State:
        state = State()
        state.ledger = SharedLedger(2)
        state.readings = []
        return state

    def works(state: State) -> None:
        first = state.ledger.begin(Invocation("a" * 8, invocation_id="A" * 8))
        second = state.ledger.begin(Invocation("b" * 4, invocation_id="B" * 12))
        state.ledger.end(first)
        third = state.ledger.begin(Invocation("c", invocation_id="C"))
        state.ledger.end(second)
        state.ledger.end(third)

    def reads(state: State) -> None:
        state.readings.append(state.ledger.read())

    def whole(state: State) -> None:
        known = {("a" * 8, "A" * 8), ("b" * 4, "B" * 12), ("c", "C")}
        for reading in state.readings:
            assert set(reading.in_flight) <= known, reading
        assert state.ledger.read().in_flight == ()
        assert state.ledger.read().torn == 0
        state.ledger.close()

    return Scenario(
        setup, (works, reads), whole, ("lmi_runtime.supervisor.ledger",), Budget(preemptions=1)
    )
