"""The upload of one streamed response, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable

from lmi_runtime.errors import RuntimeApiError
from lmi_runtime.model import MAX_RESPONSE_BYTES, Failure, PostResult, PostVerdict
from lmi_runtime.rapi.http import LAST_CHUNK, build_chunk
from lmi_runtime.rapi.protocol import failure_trailers, read_post
from lmi_runtime.rapi.transport import Connection

__all__ = ["LostStream", "UploadStream"]

Settle = Callable[[PostResult], PostResult]


class UploadStream:
    """
    A chunked upload on a connection of its own, its head already sent. See `model.AnswerStream`.

    Thread safety: loop thread only; one task at a time.

    Args:
        connection: Closed by whoever opened it.
        request_id: The request that is answered.
        settle: Called once, with what became of the upload; returns it.
    """

    def __init__(self, connection: Connection, request_id: str, settle: Settle) -> None:
        self._connection = connection
        self._request_id = request_id
        self._settle = settle
        self._sent_bytes = 0
        self._result: PostResult | None = None

    @property
    def pointless(self) -> bool:
        """True once nothing more can reach the caller; writing on is allowed, and ignored."""
        return self._result is not None or self._connection.answered

    async def write(self, chunk: bytes) -> None:
        """See `model.AnswerStream.write`."""
        # An empty chunk would end the body.
        if chunk and not self.pointless:
            self._sent_bytes += len(chunk)
            await self._connection.send(build_chunk(chunk))

    async def finish(self) -> PostResult:
        """See `model.AnswerStream.finish`."""
        return await self._end(LAST_CHUNK)

    async def fail(self, failure: Failure) -> PostResult:
        """See `model.AnswerStream.fail`."""
        return await self._end(failure_trailers(failure, self._request_id))

    async def _end(self, last: bytes) -> PostResult:
        if self._result is None:
            if not self._connection.answered:
                await self._connection.send(last)
            self._result = self._settle(await self._receive())
        return self._result

    async def _receive(self) -> PostResult:
        try:
            response = await self._connection.receive()
        except RuntimeApiError as exc:
            # Who refuses a body for its size often hangs up before the refusal can be read.
            too_large = self._sent_bytes > MAX_RESPONSE_BYTES
            verdict = PostVerdict.TOO_LARGE if too_large else PostVerdict.LOST
            return PostResult(verdict, str(exc))
        return read_post(response)


class LostStream:
    """A stream for which there was no connection; takes everything and answers `result`."""

    pointless = True

    def __init__(self, result: PostResult) -> None:
        self._result = result

    async def write(self, chunk: bytes) -> None:
        """Drop `chunk`."""

    async def finish(self) -> PostResult:
        """See `model.AnswerStream.finish`."""
        return self._result

    async def fail(self, failure: Failure) -> PostResult:
        """See `model.AnswerStream.fail`."""
        return self._result
