"""Which mode a handler runs in, for every handler and everything that can be asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.bootstrap.modes import HandlerFacts, choose_mode
from lmi_runtime.errors import UnsupportedMode
from lmi_runtime.handlers import handler, spec_of
from lmi_runtime.model import Mode

TASK = HandlerFacts("async", is_task=True, max_per_vcpu=None)
THREAD_SAFE = HandlerFacts("threads", is_task=False, max_per_vcpu=None)
ALONE = HandlerFacts("process", is_task=False, max_per_vcpu=None)
TASK_ALONE = HandlerFacts("process", is_task=True, max_per_vcpu=None)


@pytest.mark.parametrize(
    ("facts", "asked", "mode"),
    [
        (TASK, None, Mode.ASYNC),
        (THREAD_SAFE, None, Mode.HYBRID),
        (ALONE, None, Mode.PROCESS),
        (TASK_ALONE, None, Mode.PROCESS),
        # What is a task stays one, however many processes there are.
        (TASK, Mode.HYBRID, Mode.ASYNC),
        (TASK, Mode.THREAD, Mode.THREAD),
        (TASK, Mode.PROCESS, Mode.PROCESS),
        (TASK_ALONE, Mode.ASYNC, Mode.ASYNC),
        # Threads for whoever asks for them by name.
        (ALONE, Mode.HYBRID, Mode.HYBRID),
        (ALONE, Mode.THREAD, Mode.THREAD),
        (THREAD_SAFE, Mode.PROCESS, Mode.PROCESS),
    ],
)
def test_what_was_asked_for_wins_over_what_the_handler_says(
    facts: HandlerFacts, asked: Mode | None, mode: Mode
) -> None:
    assert choose_mode(asked, facts) is mode


@pytest.mark.parametrize("facts", [THREAD_SAFE, ALONE])
def test_a_plain_function_cannot_be_a_task(facts: HandlerFacts) -> None:
    with pytest.raises(UnsupportedMode, match="Use 'hybrid' if it is thread-safe, or 'process'"):
        choose_mode(Mode.ASYNC, facts)


@given(
    st.builds(
        HandlerFacts,
        st.sampled_from(["async", "threads", "process"]),
        st.booleans(),
        st.none() | st.integers(1, 1000),
    )
)
def test_facts_survive_a_new_start_of_the_process(facts: HandlerFacts) -> None:
    assert HandlerFacts.from_text(facts.to_text()) == facts


def test_facts_are_what_the_handler_asked_for() -> None:
    @handler(max_per_vcpu=8, concurrency="threads")
    def plain(event: object) -> None: ...

    spec = spec_of(plain)

    assert spec is not None
    assert HandlerFacts.of(spec) == HandlerFacts("threads", is_task=False, max_per_vcpu=8)
