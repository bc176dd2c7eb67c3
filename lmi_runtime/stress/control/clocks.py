"""Clocks and pauses in virtual time, for actors; the real ones for everybody else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from lmi_runtime.stress.control import raw
from lmi_runtime.stress.control.active import caller, stage
from lmi_runtime.stress.control.locks import switch_point
from lmi_runtime.stress.control.sites import site_at

__all__ = ["EPOCH_S", "REPLACEMENTS"]

EPOCH_S = 1_767_225_600.0
"""Seconds since the epoch at which every run begins: 2026-01-01 00:00 UTC."""

_MONOTONIC_START_S = 1_000.0


def _clock(real: Callable[[], Any], start: float, *, ns: bool = False) -> Callable[[], Any]:
    def read() -> Any:
        here = caller()
        if here is None:
            before = stage()
            if before is None:
                return real()
            seconds = start + before.clock
            return round(seconds * 1e9) if ns else seconds
        run, actor = here
        # Time is shared, and sleepers move it: reading it is like reading any other state.
        switch_point(run, actor, "read the clock")
        run.clean = False
        seconds = start + run.now(actor)
        return round(seconds * 1e9) if ns else seconds

    read.__name__ = real.__name__
    return read


def _broken_down(real: Callable[..., Any]) -> Callable[..., Any]:
    def convert(seconds: float | None = None) -> Any:
        here = caller()
        if seconds is None and here is not None:
            return real(EPOCH_S + here[0].now(here[1]))
        before = stage()
        if seconds is None and before is not None:
            return real(EPOCH_S + before.clock)
        return real(seconds)

    convert.__name__ = real.__name__
    return convert


def sleep(seconds: float) -> None:
    """Stands in for `time.sleep`."""
    here = caller()
    if here is None:
        if stage() is None:
            raw.sleep(seconds)
        return
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    run, actor = here
    actor.last_site = site_at(sys._getframe(1), "sleep")
    run.sleep(actor, seconds)


REPLACEMENTS: dict[Any, Any] = {
    time.time: _clock(time.time, EPOCH_S),
    time.time_ns: _clock(time.time_ns, EPOCH_S, ns=True),
    time.monotonic: _clock(time.monotonic, _MONOTONIC_START_S),
    time.monotonic_ns: _clock(time.monotonic_ns, _MONOTONIC_START_S, ns=True),
    time.perf_counter: _clock(time.perf_counter, _MONOTONIC_START_S),
    time.perf_counter_ns: _clock(time.perf_counter_ns, _MONOTONIC_START_S, ns=True),
    time.localtime: _broken_down(time.localtime),
    time.gmtime: _broken_down(time.gmtime),
    time.sleep: sleep,
}
"""The standard library's function: what stands in for it."""
