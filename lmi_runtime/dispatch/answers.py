"""Post what an invocation came to, once, and keep count of how that went."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from lmi_runtime.dispatch.kernel import Kernel
from lmi_runtime.dispatch.slots import Slot
from lmi_runtime.errors import RuntimeApiError
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

__all__ = ["Answers"]

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
        cancelled: Callable[[], Failure],
    ) -> None:
        """
        Post an answer while user code makes it. The caller has settled `slot`.

        Args:
            slot: The invocation.
            head: The stream; closed here, however it ends.
            kernel: Lets the making be cancelled.
            ended: Awaited when user code has ended and the end of the stream is not yet sent.
            cancelled: Makes the failure of a stream that was cancelled.
        """
        failure = None
        try:
            async with self._api.stream(slot.invocation, head) as upload:
                try:
                    if await kernel.run(slot, _pump(head, upload)) is None:
                        failure = cancelled()
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


def log_failure(failure: Failure) -> None:
    """Write one error line, with the fields AWS's own client gives it."""
    logger.error(
        "%s: %s",
        failure.error_class,
        failure.message,
        extra={
            "errorType": failure.error_class,
            "errorMessage": failure.message,
            "stackTrace": list(failure.stack),
        },
    )


async def _pump(head: Streaming, upload: AnswerStream) -> bool:
    async with aclosing(head.chunks) as chunks:
        async for chunk in chunks:
            await upload.write(chunk)
            if upload.pointless:
                break
    return True
