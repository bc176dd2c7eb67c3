"""Soak one form of the function: call, judge every answer, read what may not grow."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from lmi_runtime.emulator import Answer, EmulatorOptions, LocalEnvironment
from stress.soaking.calls import Call, draw, heaviest, judge, longest
from stress.soaking.vitals import Vitals, growth, read_vitals, session_pids
from tests.support.repository import REPOSITORY

__all__ = ["SoakOptions", "Soaked", "soak"]

_READY_TIMEOUT_S = 120.0
_STRETCHES = 3
_COMPLAINTS_KEPT = 20
_MODES = {"task": "async", "stream": "async", "thread": "hybrid", "thread_stream": "hybrid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakOptions:
    """
    How hard.

    Attributes:
        invocations: Calls of this form.
        slots: N, and the number of callers.
        workers: Worker processes.
        seed: Of the dice that draw the calls.
        rss_tolerance: Share by which memory may differ at the end.
        timeout_s: The function's time-out.
        readings: How often in between it is read what may not grow.
        uvloop: The event loop of the runtime.
    """

    invocations: int
    slots: int
    workers: int
    seed: int
    rss_tolerance: float
    timeout_s: float = 2.0
    readings: int = 10
    uvloop: bool = True


@dataclass(slots=True)
class Soaked:
    """
    What came of it.

    Attributes:
        form: Form of the function.
        answered: Calls that were answered, by what was asked.
        gone: Calls whose caller hung up before.
        refused: Attempts that found no slot, because late calls still held theirs; all were
            made again.
        complaints: Everything that was wrong; the first few in words.
        wrong: How many were wrong.
        readings: What may not grow, read after equal parts of the calls.

    Thread safety: loop thread only.
    """

    form: str
    answered: dict[str, int] = field(default_factory=dict)
    gone: int = 0
    refused: int = 0
    wrong: int = 0
    complaints: list[str] = field(default_factory=list)
    readings: list[Vitals] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Calls that are over."""
        return sum(self.answered.values()) + self.gone

    def complain(self, what: str) -> None:
        """Note that something is wrong."""
        self.wrong += 1
        if len(self.complaints) < _COMPLAINTS_KEPT:
            self.complaints.append(what)


async def soak(form: str, options: SoakOptions, progress: Callable[[float], None]) -> Soaked:
    """
    Start the runtime in a local environment, call it, and judge.

    Args:
        form: Form of the function.
        options: How hard.
        progress: Told how many more calls are over, on the loop.
    """
    command = [sys.executable, "-m", "lmi_runtime", f"function.{form}", "--mode", _MODES[form]]
    environment = LocalEnvironment(
        command,
        EmulatorOptions(timeout_s=options.timeout_s, max_concurrency=options.slots),
        env={
            "LMI_VCPUS": str(options.workers),
            "LMI_UVLOOP": "1" if options.uvloop else "0",
            "PYTHONPATH": os.fspath(REPOSITORY),
        },
        cwd=Path(__file__).parent,
    )
    soaked = Soaked(form)
    async with environment:
        await _Soak(environment, soaked, options, progress).run()
    return soaked


class _Soak:
    """Thread safety: loop thread only."""

    def __init__(
        self,
        environment: LocalEnvironment,
        soaked: Soaked,
        options: SoakOptions,
        progress: Callable[[float], None],
    ) -> None:
        self._environment = environment
        self._emulator = environment.emulator
        self._soaked = soaked
        self._options = options
        self._progress = progress
        self._dice = Random(f"{options.seed} {soaked.form}")
        self._drawn = 0

    async def run(self) -> None:
        await self._rest()
        await self._stretch()
        readings = self._options.readings
        for reading in range(1, readings + 1):
            until = self._options.invocations * reading // readings
            async with asyncio.TaskGroup() as callers:
                for _ in range(self._options.slots):
                    callers.create_task(self._caller(until))
            await self._rest()
            self._soaked.readings.append(await self._read())
        self._conclude()

    async def _stretch(self) -> None:
        """Have everything made that is made once and kept, so that nothing is said to grow."""
        form, slots = self._soaked.form, self._options.slots
        for number in range(_STRETCHES):
            for slot in range(slots):
                await self._try(heaviest(form, f"heaviest-{number}-{slot}"))
            together = [longest(f"longest-{number}-{slot}") for slot in range(slots)]
            await asyncio.gather(*map(self._try, together))

    async def _try(self, call: Call) -> None:
        answer = await self._call(call)
        if complaint := answer and judge(call, answer):
            self._soaked.complain(complaint)

    async def _caller(self, until: int) -> None:
        while self._drawn < until:
            self._drawn += 1
            timeout_s = self._options.timeout_s
            call = draw(self._dice, self._soaked.form, self._drawn, timeout_s=timeout_s)
            answer = await self._call(call)
            self._note(call, answer)
            self._progress(1)

    def _note(self, call: Call, answer: Answer | None) -> None:
        if answer is None:
            self._soaked.gone += 1
            return
        # The margin before a deadline is short: on a busy machine the platform may be first.
        kind = "timed_out" if answer.error_type == "Sandbox.Timedout" else call.act
        self._soaked.answered[kind] = self._soaked.answered.get(kind, 0) + 1
        if complaint := judge(call, answer):
            self._soaked.complain(complaint)

    async def _call(self, call: Call) -> Answer | None:
        """Make *call*, again and again while it is refused; None if its caller hung up."""
        while True:
            try:
                async with asyncio.timeout(call.leave_after_s):
                    answer = await self._emulator.invoke(
                        call.event, {"X-Amzn-RequestId": call.nonce}
                    )
            except TimeoutError:
                return None
            if not answer.refused:
                return answer
            self._soaked.refused += 1
            await asyncio.sleep(0.001)

    async def _rest(self) -> None:
        """Wait until nothing runs and every slot polls: even an overrun thread has ended."""
        async with asyncio.timeout(_READY_TIMEOUT_S):
            await self._emulator.wait_until(
                lambda now: now.running == 0 and now.waiting == self._options.slots
            )

    async def _read(self) -> Vitals:
        tasks: dict[int, int] = {}
        # The oldest poll gets the next event, so that many calls in a row visit every poll.
        for number in range(self._options.slots * 2):
            answer = await self._emulator.invoke(Call(f"census-{number}", "census").event)
            told = json.loads(answer.body)
            tasks[told["pid"]] = min(told["tasks"], tasks.get(told["pid"], told["tasks"]))
        pids = session_pids(self._environment.pid)
        return read_vitals(pids, answered=self._soaked.total, tasks=sum(tasks.values()))

    def _conclude(self) -> None:
        options, soaked = self._options, self._soaked
        if soaked.total != options.invocations:
            soaked.complain(f"{soaked.total} of {options.invocations} calls are over")
        for violation in self._emulator.violations:
            soaked.complain(f"rule broken: {violation}")
        first = soaked.readings[0]
        # Threads (two for a stream) and connections are made as they are needed, and kept.
        spare = options.slots + options.workers
        for complaint in growth(
            soaked.readings,
            rss_tolerance=options.rss_tolerance,
            threads=first.threads + 2 * spare if _MODES[soaked.form] == "hybrid" else 0,
            fds=first.fds + spare,
        ):
            soaked.complain(complaint)
