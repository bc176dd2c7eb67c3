"""Post what an invocation came to, once, and keep count of how that went."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from lmi_runtime.dispatch.kernel import Kernel
from lmi_runtime.dispatch.slots import Slot
from lmi_runtime.dispatch.speech import say
from lmi_runtime.errors import DeadlineExceeded, RuntimeApiError
from lmi_runtime.model import (
    AnswerStream,
    Failure,
    InFlightLedger,
    PostResult,
    PostVerdict,
    RuntimeApi,
    StreamFailed,
    Streaming,
    Success,
)

__all__ = ["Answers", "cancelled", "defect"]

logger = logging.getLogger("lmi_runtime.invocation")


class Answers:
    """
    The way out: outcomes to the Runtime API.

    Attributes:
        accepted: Answers the platform took.
        failed: Of those, the errors.
        stale: Answers that came too late, or for an invocation it no longer knew.
        lost: Answers it did not take for any other reason.

    Thread safety: loop thread only.
    """

    def __init__(self, api: RuntimeApi, ledger: InFlightLedger) -> None:
        self.accepted = self.failed = self.stale = self.lost = 0
        self._api = api
        self._ledger = ledger

    async def post(self, slot: Slot, outcome: Success | Failure) -> None:
        """Post a whole answer. The caller has settled `slot`."""
        if isinstance(outcome, Success):
            result = await self._api.respond(slot.invocation, outcome)
        else:
            log_failure(outcome)
            result = await self._api.fail(slot.invocation, outcome)
        self._note(slot, result, failed=isinstance(outcome, Failure))

    async def stream(
        self,
        slot: Slot,
        head: Streaming,
        kernel: Kernel,
        *,
        ended: Callable[[], Awaitable[None]],
    ) -> None:
        """
        Post an answer while user code makes it. The caller has settled `slot`.

        Args:
            slot: The invocation.
            head: The stream; closed here, however it ends.
            kernel: Lets the making be cancelled.
            ended: Awaited when user code has ended and the end of the stream is not yet sent.
        """
        failure = None
        try:
            async with self._api.stream(slot.invocation, head) as upload:
                try:
                    if await kernel.run(slot, _pump(slot, head, upload)) is None:
                        failure = cancelled(slot)
                except StreamFailed as failed:
                    failure = failed.failure
                finally:
                    await ended()
                if failure is None:
                    result = await upload.finish()
                else:
                    log_failure(failure)
                    result = await upload.fail(failure)
        except RuntimeApiError as error:
            result = PostResult(PostVerdict.LOST, str(error))
            if not slot.left:  # it was never opened
                await head.chunks.aclose()
                await ended()
        self._note(slot, result, failed=failure is not None)

    def _note(self, slot: Slot, result: PostResult, *, failed: bool) -> None:
        self._ledger.end(slot.ticket)
        if result.verdict is PostVerdict.ACCEPTED:
            self.accepted += 1
            self.failed += failed
        elif result.verdict is PostVerdict.STALE:
            self.stale += 1
        else:
            self.lost += 1


def defect(error: BaseException) -> Failure:
    """The answer for an entry that raised: its defect must not keep its caller waiting."""
    return Failure("Runtime.Unknown", type(error).__name__, str(error))


def cancelled(slot: Slot) -> Failure:
    """The answer for code that was stopped, or that would not stop."""
    if not slot.overran:
        return Failure("Function.CancelledError", "CancelledError", "The handler cancelled itself.")
    message = "The handler was still running when its deadline came."
    return Failure(DeadlineExceeded.error_type, DeadlineExceeded.__name__, message)


def log_failure(failure: Failure) -> None:
    """Write one error line, with the fields AWS's own client gives it."""
    say(
        logger,
        logging.ERROR,
        "%s: %s",
        failure.error_class,
        failure.message,
        extra={
            "errorType": failure.error_class,
            "errorMessage": failure.message,
            "stackTrace": list(failure.stack),
        },
    )


async def _pump(slot: Slot, head: Streaming, upload: AnswerStream) -> bool | None:
    async with aclosing(head.chunks) as chunks:
        if slot.cancelling:  # its deadline came while the upload was being opened
            return None
        async for chunk in chunks:
            await upload.write(chunk)
            if upload.pointless:
                break
    return True
