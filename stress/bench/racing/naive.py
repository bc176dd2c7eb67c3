"""No checker at all: the program is run many times, and luck decides."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from stress.bench.racing.outcome import Budget, Outcome, Subject

__all__ = ["check"]

_SWITCH_S = 1e-6
_STUCK_S = 10.0  # nothing ever waits so long, but a machine stands still for seconds at times


def check(subject: Subject, budget: Budget) -> Outcome:
    """Run *subject* until it fails or the budget is spent."""
    attempt = _run_threads if subject.kind == "thread" else _run_tasks
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    started = time.monotonic()
    tried = 0
    try:
        while tried < budget.schedules and time.monotonic() - started < budget.seconds:
            tried += 1
            failure = attempt(subject.module)
            if failure:
                seconds = time.monotonic() - started
                return Outcome("found", tried, tried, seconds, detail=failure)
    finally:
        sys.setswitchinterval(interval_s)
    seconds = time.monotonic() - started
    return Outcome("inconclusive", tried, None, seconds, detail="luck found nothing")


def _run_threads(module: Any) -> str:
    state = module.make_state()
    errors: list[BaseException] = []
    calls = module.threads(state)
    together = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> None:
        together.wait()
        try:
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    until = time.monotonic() + _STUCK_S
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        return "stuck"
    return _judge(module, state, errors)


def _run_tasks(module: Any) -> str:
    state = module.make_state()

    async def together() -> list[BaseException]:
        calls = [call() for call in module.threads(state)]
        ended = await asyncio.wait_for(
            asyncio.gather(*calls, return_exceptions=True), timeout=_STUCK_S
        )
        return [end for end in ended if isinstance(end, BaseException)]

    try:
        errors = asyncio.run(together())
    except TimeoutError:
        return "stuck"
    return _judge(module, state, errors)


def _judge(module: Any, state: Any, errors: list[BaseException]) -> str:
    if errors:
        return f"{type(errors[0]).__name__}: {errors[0]}"
    return "" if module.invariant(state) else "the invariant does not hold"
