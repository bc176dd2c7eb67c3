"""
The dispatch loop: poll, place, serve, answer.

The Runtime API queues nothing: an event that finds no waiting poll is refused at once. So polls
are detached from handlers, and a slot's admission token is given back just *before* its answer
is posted: the next poll is on the wire when the caller, answered, calls again.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import partial

import anyio

from lmi_runtime.context import enter
from lmi_runtime.dispatch.answers import Answers, cancelled, defect
from lmi_runtime.dispatch.deadlines import Act
from lmi_runtime.dispatch.keeper import DeadlineKeeper
from lmi_runtime.dispatch.kernel import Kernel, current_kernel
from lmi_runtime.dispatch.slots import Slot
from lmi_runtime.dispatch.speech import say
from lmi_runtime.dispatch.stall import StallWatchdog
from lmi_runtime.dispatch.threads import HandlerThreads
from lmi_runtime.errors import RuntimeApiClosed
from lmi_runtime.model import (
    Entry,
    EntryKind,
    InFlightLedger,
    Invocation,
    Outcome,
    RuntimeApi,
    Streaming,
)

__all__ = ["DispatchHooks", "DispatchOptions", "DispatchStatistics", "Dispatcher"]

logger = logging.getLogger("lmi_runtime.dispatch")


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchOptions:
    """
    How one worker admits invocations.

    Attributes:
        limit: Polls this worker may have waiting: its share of the environment's concurrency.
        spare: Admission tokens beyond `limit`. They keep polls on the wire while `limit`
            invocations run, which closes the gap between an answer and the next poll.
        strict: Never run the code of more than `limit` invocations at once: an event that comes
            on a spare poll waits for a place. Otherwise it runs at once. The platform sends the
            environment no more than was agreed, so a worker then runs more than its share only
            while a sibling runs less, and to wait for a place here would be to wait beside an
            idle one.
        repoll_first: Give the token back before the answer is posted. Classic Lambda, whose
            environment freezes once it has answered and polls again, wants the opposite.
        stall_threshold_s: Seconds for which the loop may not turn before the watchdog names the
            code that blocks it; None runs no watchdog.
    """

    limit: int
    spare: int = 1
    strict: bool = False
    repoll_first: bool = True
    stall_threshold_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchHooks:
    """
    What others want to know. Called on the loop thread; they must not block or raise.

    Attributes:
        placed: An invocation is about to be served.
        left: An invocation's code has ended; its answer is not posted yet.
    """

    placed: Callable[[Slot], None] | None = None
    left: Callable[[Slot], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchStatistics:
    """
    One consistent reading of a dispatcher, taken on its loop thread.

    Attributes:
        served: Answers the platform accepted.
        failed: Of those, the errors.
        stale: Answers that came too late, or for an invocation the platform no longer knew.
        lost: Answers the platform did not take for any other reason.
        overran: Invocations that ran into their deadline.
        polls: Polls waiting now.
        running: Invocations whose code runs now.
        quarantined: Of those, the ones that were answered for already.
    """

    served: int
    failed: int
    stale: int
    lost: int
    overran: int
    polls: int
    running: int
    quarantined: int


class Dispatcher:
    """
    Serves the invocations of one Runtime API with one handler until it is drained.

    Thread safety: loop thread only.
    """

    def __init__(
        self,
        api: RuntimeApi,
        entry: Entry,
        options: DispatchOptions,
        *,
        ledger: InFlightLedger,
        hooks: DispatchHooks | None = None,
    ) -> None:
        """
        Args:
            api: Where events come from and answers go.
            entry: The handler.
            options: How many invocations at once.
            ledger: Mirrors what is in flight to whoever answers should this process die.
            hooks: See `DispatchHooks`.
        """
        self._api = api
        self._entry = entry
        self._options = options
        self._ledger = ledger
        self._hooks = hooks or DispatchHooks()
        # Everything from here on: loop thread only.
        self._slots: dict[Slot, None] = {}  # an ordered set
        self._places = options.limit + (0 if options.strict else options.spare)
        self._backlog: deque[Slot] = deque()
        self._threads = HandlerThreads()
        self._answers = Answers(api, ledger)
        self._keeper = DeadlineKeeper(self._slots.keys(), self._overran)
        self._kernel: Kernel
        self._running = False
        self._tokens = options.limit + options.spare
        self._without_token: deque[anyio.Event] = deque()
        self._pristine: Context
        self._stopped = anyio.Event()
        self._emptied = anyio.Event()
        self._emptied.set()
        self._draining = False
        self._polls = 0
        # With so many polls on the wire, an answer need not wait for another one.
        self._enough_polls = max(1, options.spare // 2)
        self._overruns = 0

    # ---- life

    async def run(self) -> None:
        """
        Poll and serve; returns once `drain` is done.

        Raises:
            RuntimeApiUnreachable: The platform is gone; the process should exit.
        """
        self._pristine = copy_context()
        watchdog = None
        try:
            async with anyio.create_task_group() as tasks:
                self._kernel = current_kernel(tasks)
                self._running = True
                watchdog = self._watchdog()
                tasks.start_soon(self._keeper.run)
                for _ in range(self._options.limit):
                    tasks.start_soon(self._poll)
                await self._stopped.wait()
                tasks.cancel_scope.cancel()  # the waiting polls; the process ends now
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            self._threads.close()
            if watchdog is not None:
                watchdog.stop()

    async def drain(self, timeout_s: float) -> bool:
        """
        Take no more events, wait for what is in flight, and let `run` return.

        Waiting polls are left alone until the very end, and an event that reaches one is still
        served: an abandoned poll loses the event that is routed to it.

        Args:
            timeout_s: Seconds to wait at most.

        Returns:
            Whether everything in flight was answered.
        """
        self._draining = True
        self._api.stopping()
        with anyio.move_on_after(timeout_s):
            if self._running:
                # An event may have reached a poll whose task has not had its turn yet.
                await self._kernel.turn()
            while self._slots:
                if self._emptied.is_set():
                    self._emptied = anyio.Event()
                await self._emptied.wait()
        self._stopped.set()
        return not self._slots

    def statistics(self) -> DispatchStatistics:
        """What happened so far, and what is going on."""
        answers = self._answers
        running = [s for s in self._slots if not s.left and s not in self._backlog]
        return DispatchStatistics(
            served=answers.accepted,
            failed=answers.failed,
            stale=answers.stale,
            lost=answers.lost,
            overran=self._overruns,
            polls=self._polls,
            running=len(running),
            quarantined=sum(slot.settled for slot in running),
        )

    def _watchdog(self) -> StallWatchdog | None:
        threshold_s = self._options.stall_threshold_s
        if threshold_s is None:
            return None
        watchdog = StallWatchdog(self._kernel.call_soon_threadsafe, threshold_s=threshold_s)
        watchdog.start()
        return watchdog

    # ---- one invocation, in the order it happens

    async def _poll(self) -> None:
        while not self._draining:
            if self._tokens:
                self._tokens -= 1
            else:
                handed_over = anyio.Event()
                self._without_token.append(handed_over)
                await handed_over.wait()
                if self._draining:
                    return
            self._polls += 1
            try:
                invocation = await self._api.next()
            except RuntimeApiClosed:
                return
            finally:
                self._polls -= 1
            self._place(invocation)
            del invocation  # its event would be kept for as long as the next poll waits

    def _place(self, invocation: Invocation) -> None:
        entry = self._entry
        acts_at_s = invocation.deadline_s
        if acts_at_s is not None and entry.cancel_at_deadline:
            acts_at_s -= entry.deadline_margin_s
        slot = Slot(
            invocation,
            self._pristine.copy(),
            ticket=self._ledger.begin(invocation),
            acts_at_s=acts_at_s,
            cancellable=entry.kind is EntryKind.TASK,
            report_only=not entry.cancel_at_deadline,
        )
        self._slots[slot] = None
        slot.context.run(enter, slot.request)
        if self._hooks.placed is not None:
            self._hooks.placed(slot)
        if self._places:
            self._places -= 1
            self._start(slot)
        else:
            self._backlog.append(slot)
        if acts_at_s is not None:
            self._keeper.watch(acts_at_s)

    def _start(self, slot: Slot) -> None:
        if self._entry.kind is EntryKind.TASK:
            self._kernel.start(slot.context, self._serve_task, slot)
        elif slot.settled:  # its deadline came first
            self._finish_soon(slot, cancelled(slot))
        else:
            self._threads.run(partial(self._serve_thread, slot))

    async def _serve_task(self, slot: Slot) -> None:
        outcome: Outcome | None = None
        if not slot.cancelling:
            try:
                outcome = await self._kernel.run(slot, self._entry.serve(slot.invocation))
            except (Exception, SystemExit, KeyboardInterrupt) as error:
                outcome = defect(error)
        await self._finish(slot, outcome or cancelled(slot))

    def _serve_thread(self, slot: Slot) -> None:
        """Runs on a handler's thread."""
        outcome: Outcome
        try:
            outcome = slot.context.run(self._entry.serve_blocking, slot.invocation)
        except BaseException as error:
            outcome = defect(error)
        # Only now, outside its context, may the loop thread enter that context.
        with contextlib.suppress(RuntimeError):  # the loop is gone: draining gave up on us
            self._kernel.call_soon_threadsafe(self._thread_ended, slot, outcome)

    def _thread_ended(self, slot: Slot, outcome: Outcome) -> None:
        self._threads.left()
        self._finish_soon(slot, outcome)

    def _finish_soon(self, slot: Slot, outcome: Outcome) -> None:
        self._kernel.start(slot.context, partial(self._finish, outcome=outcome), slot)

    async def _finish(self, slot: Slot, outcome: Outcome) -> None:
        mine = slot.settle()
        try:
            if not isinstance(outcome, Streaming):
                await self._leave(slot)
                if mine:
                    await self._answers.post(slot, outcome)
            elif mine:
                ended = partial(self._leave, slot)
                await self._answers.stream(slot, outcome, self._kernel, ended=ended)
            else:
                await outcome.chunks.aclose()
                await self._leave(slot)
        finally:
            # Also when user code that was left behind cancels this very task.
            if not self._options.repoll_first:
                self._free_token()
            self._let_go(slot)
        if not mine:
            text = "The code of an invocation that was answered for has ended."
            say(logger, logging.WARNING, text)

    async def _leave(self, slot: Slot) -> None:
        """The code of `slot` has ended; what is left to do is to answer."""
        slot.left = True
        slot.request.end()
        if self._hooks.left is not None:
            self._hooks.left(slot)
        if self._backlog:
            self._start(self._backlog.popleft())
        else:
            self._places += 1
        if self._options.repoll_first:
            self._free_token()
            if self._polls < self._enough_polls:
                # A turn of the loop, in which the poll that got the token goes out on the wire.
                await self._kernel.turn()

    def _free_token(self) -> None:
        if self._without_token:
            self._without_token.popleft().set()
        else:
            self._tokens += 1

    def _let_go(self, slot: Slot) -> None:
        slot.holds -= 1
        if slot.holds == 0:
            self._slots.pop(slot, None)
            if not self._slots:
                self._emptied.set()

    # ---- deadlines

    def _overran(self, slot: Slot, act: Act) -> None:
        self._overruns += not slot.overran
        slot.overran = True
        if act is Act.CANCEL:
            slot.cancel()
            return
        # A copy, because the code that overran is still inside the context itself.
        context = slot.context.copy()
        if act is Act.REPORT:
            text = "The invocation is past its deadline and still runs."
            context.run(say, logger, logging.WARNING, text)
            return
        slot.settle()
        slot.holds += 1
        self._kernel.start(context, self._answer_for, slot)

    async def _answer_for(self, slot: Slot) -> None:
        usable = self._options.limit - self.statistics().quarantined
        say(
            logger,
            logging.WARNING,
            "The handler did not end at its deadline and was answered for. Its slot is "
            "quarantined until it ends; %d of %d slots are usable.",
            max(usable, 0),
            self._options.limit,
        )
        try:
            await self._answers.post(slot, cancelled(slot))
        finally:
            self._let_go(slot)
