"""The actor that runs the participants that are coroutine functions."""

from __future__ import annotations

import asyncio
from asyncio import events
from collections.abc import Sequence
from contextvars import copy_context
from typing import Any

from lmi_runtime.stress.control.actors import Actor, Unwind
from lmi_runtime.stress.control.loop import ControlledLoop
from lmi_runtime.stress.control.scheduler import Scheduler
from lmi_runtime.stress.program import Ended, Participant

__all__ = ["LoopHost"]


class LoopHost:
    """
    Runs coroutine functions as tasks of one event loop.

    Thread safety: made by the exploring thread, then of its actor.
    """

    def __init__(self, run: Scheduler, actor: Actor, participants: Sequence[Participant]) -> None:
        self._run = run
        self._actor = actor
        self._participants = participants
        self._tasks: dict[int, asyncio.Task[Any]] = {}  # by index of the participant
        self._results: list[Ended] = [Ended(finished=False) for _ in participants]

    def main(self) -> None:
        """The actor's whole life."""
        loop = ControlledLoop(self._run, self._actor)
        events._set_running_loop(None)
        try:
            for together in self._groups():
                for index in together:
                    self._start(loop, index)
                loop.awaited = {loop.number_of(self._tasks[index]) for index in together}
                loop.run_forever()
            self._note_ends(loop)
            self._actor.is_participant = False  # what is left keeps nobody
            loop.settle()
        except Unwind:
            if self._actor.is_participant:
                self._note_ends(loop)
            raise
        finally:
            events._set_running_loop(None)
            loop.rest()

    def ended(self) -> list[Ended]:
        """One a participant."""
        return self._results

    def _groups(self) -> Sequence[Sequence[int]]:
        """Which participants run at once."""
        everybody = range(len(self._participants))
        serial = self._run.options.serial
        if serial is None:
            return [everybody] if everybody else []
        return [[index] for index in serial if index in everybody]

    def _start(self, loop: ControlledLoop, index: int) -> None:
        participant = self._participants[index]
        task = loop.create_task(participant.call(), name=participant.name, context=copy_context())
        number = loop.number_of(task)
        loop.cancellable.add(number)
        self._tasks[index] = task
        if self._run.recorder is not None:
            self._run.recorder.person(number, participant.name, "task", participant.invocation)

    def _note_ends(self, loop: ControlledLoop) -> None:
        for index, task in self._tasks.items():
            self._results[index] = _ended(task, loop.number_of(task) in loop.cancelled)


def _ended(task: asyncio.Task[Any], was_cancelled: bool) -> Ended:
    if not task.done():
        return Ended(finished=False)
    if task.cancelled():
        if was_cancelled:
            return Ended(cancelled=True)
        return Ended(error=asyncio.CancelledError())
    error = task.exception()
    if isinstance(error, Unwind):
        return Ended(finished=False)
    return Ended(error=error) if error is not None else Ended(result=task.result())
