"""Storms of cancellations lose nothing; and they would notice if they did."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from lmi_runtime.pools import Connector, Pool
from lmi_runtime.pools.core import PoolState
from lmi_runtime.pools.members import WaiterState
from stress import storms

pytestmark = [pytest.mark.system, pytest.mark.slow]


def test_no_storm_of_any_sort_does_harm(capsys: pytest.CaptureFixture[str]) -> None:
    status = storms.main(["--storms", "3", "--json"])

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert status == 0, [line for line in lines if line["lost"] or line["wrong"] or line["errors"]]
    assert len(lines) == 14
    assert all(line["served"] and line["cancelled"] for line in lines)


def test_a_hand_off_that_is_swallowed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(self: PoolState[Any], waiter: Any, now_s: float, orders: Any) -> None:
        waiter.state = WaiterState.OVER
        waiter.lane.line.pop(waiter, None)

    monkeypatch.setattr(PoolState, "leave_locked", leave)
    # What is lost does not come back, however long somebody waits.
    monkeypatch.setattr("tests.support.storms.wait_served.__defaults__", (0.2,))
    monkeypatch.setattr(Pool.aclose, "__defaults__", (0.2,))

    assert any(_storm(seed).lost for seed in range(6))


def test_a_reply_that_goes_astray_is_noticed() -> None:
    """As it does when what was cancelled is lent again as it is."""
    unreset: Connector[Any] = Connector(open=storms.Fake)

    wrong = sum(_storm(seed, unreset).wrong for seed in (1, 3, 5))

    assert wrong > 0


def _storm(seed: int, connector: Connector[Any] | None = None) -> Any:
    chosen = connector or storms._connector("threads")
    return anyio.run(storms.one_storm, chosen, storms._ask, "single", seed)
