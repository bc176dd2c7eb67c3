"""Slots are shared out exactly: nothing is lost, nothing made up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.model import Mode
from lmi_runtime.supervisor.shares import plan, split

counts = st.integers(1, 2000)


@given(n=counts, k=counts)
def test_a_split_is_exact_fair_and_without_idle_workers(n: int, k: int) -> None:
    shares = split(n, k)

    assert sum(shares) == n
    assert len(shares) == min(n, k)
    assert min(shares) >= 1
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize(("n", "k"), [(0, 1), (1, 0), (-1, 3), (3, -1)])
def test_nothing_cannot_be_split(n: int, k: int) -> None:
    with pytest.raises(ValueError, match="share"):
        split(n, k)


@pytest.mark.parametrize(
    ("mode", "n", "vcpus", "limit", "workers"),
    [
        (Mode.ASYNC, 16, 3, None, (6, 5, 5)),  # AWS's hybrid mode loses a slot here
        (Mode.HYBRID, 16, 3, None, (6, 5, 5)),
        (Mode.ASYNC, 2, 8, None, (1, 1)),
        (Mode.THREAD, 16, 4, None, (16,)),
        (Mode.PROCESS, 4, 2, None, (1, 1, 1, 1)),
        (Mode.ASYNC, 32, 2, 8, (8, 8)),
        (Mode.ASYNC, 4, 2, 8, (2, 2)),  # never above the platform's limit
        (Mode.THREAD, 32, 2, 8, (16,)),
        (Mode.PROCESS, 32, 2, 1, (1, 1)),
        (Mode.ASYNC, None, 4, None, (1,)),  # classic Lambda
        (Mode.PROCESS, None, 4, 8, (1,)),
    ],
)
def test_plans(
    mode: Mode, n: int | None, vcpus: int, limit: int | None, workers: tuple[int, ...]
) -> None:
    it = plan(max_concurrency=n, vcpus=vcpus, mode=mode, max_per_vcpu=limit)

    assert it.workers == workers
    assert it.mode is mode
    assert it.slots == sum(workers)


@given(
    n=counts,
    vcpus=st.integers(1, 64),
    mode=st.sampled_from(Mode),
    limit=st.none() | st.integers(1, 300),
)
def test_a_plan_offers_exactly_the_effective_limit(
    n: int, vcpus: int, mode: Mode, limit: int | None
) -> None:
    it = plan(max_concurrency=n, vcpus=vcpus, mode=mode, max_per_vcpu=limit)

    assert it.slots == (n if limit is None else min(n, limit * vcpus))
    assert len(it.workers) == {Mode.THREAD: 1, Mode.PROCESS: it.slots}.get(
        mode, min(vcpus, it.slots)
    )
