"""How many invocations a worker lets in, for every mode and limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.bootstrap.worker import dispatch_options
from lmi_runtime.model import Mode

SHARING = [Mode.ASYNC, Mode.HYBRID, Mode.THREAD]


@pytest.mark.parametrize("mode", SHARING)
@given(slots=st.integers(1, 64), limit=st.none() | st.integers(1, 200))
def test_a_worker_never_runs_more_than_its_handler_allows(
    mode: Mode, slots: int, limit: int | None
) -> None:
    """`plan` never gives a worker more slots than the handler's own limit."""
    slots = slots if limit is None else min(slots, limit)
    options = dispatch_options(mode, slots, limit)
    most = options.limit if options.strict else options.limit + options.spare
    assert options.limit == slots
    assert most <= (2 * slots if limit is None else limit)


@pytest.mark.parametrize("mode", SHARING)
@given(slots=st.integers(1, 64), limit=st.none() | st.integers(1, 200))
def test_a_worker_that_shares_its_process_always_has_a_poll_to_spare(
    mode: Mode, slots: int, limit: int | None
) -> None:
    assert dispatch_options(mode, slots, limit).spare >= 1


def test_in_process_mode_nothing_waits_behind_another() -> None:
    options = dispatch_options(Mode.PROCESS, 1, None)
    assert (options.limit, options.spare) == (1, 0)
