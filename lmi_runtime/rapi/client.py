"""The Runtime API over HTTP: retries, and the log lines about them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from lmi_runtime._sync import monotonic, wall_time
from lmi_runtime.errors import RuntimeApiClosed, RuntimeApiError, RuntimeApiUnreachable
from lmi_runtime.model import (
    MAX_RESPONSE_BYTES,
    AnswerStream,
    Failure,
    Invocation,
    PostResult,
    PostVerdict,
    Streaming,
    Success,
)
from lmi_runtime.rapi.anyio_transport import connect_anyio
from lmi_runtime.rapi.asyncio_transport import connect_asyncio
from lmi_runtime.rapi.backoff import Backoff
from lmi_runtime.rapi.protocol import (
    Fault,
    PollAgain,
    Requests,
    oversized_response,
    read_poll,
    read_post,
    without_details,
)
from lmi_runtime.rapi.streams import LostStream, UploadStream
from lmi_runtime.rapi.transport import (
    Connect,
    ConnectFailed,
    Connection,
    ConnectionPool,
    split_address,
)

__all__ = ["HttpRuntimeApi"]

_log = logging.getLogger("lmi_runtime.rapi")

_POLL_AGAIN_S = 0.01

_LEVELS = {
    PostVerdict.STALE: logging.WARNING,
    PostVerdict.TOO_LARGE: logging.ERROR,
    PostVerdict.LOST: logging.ERROR,
}


class HttpRuntimeApi:
    """
    The Runtime API at `address`. See `model.RuntimeApi`.

    Polls have connections of their own, so that answers never wait behind them; so has every
    stream.

    Thread safety: loop thread only; any number of calls may be under way at once.

    Args:
        address: ``host:port``, the value of ``AWS_LAMBDA_RUNTIME_API``.
        connect: How to connect; by default what suits the event loop of the first call.
        backoff: When to poll again after a fault, and when to give up.

    Raises:
        ConfigurationError: `address` is not ``host:port``.
    """

    def __init__(
        self, address: str, *, connect: Connect | None = None, backoff: Backoff | None = None
    ) -> None:
        host, port = split_address(address)
        self._requests = Requests(address)
        self._polls = ConnectionPool(host, port, connect or _connect)
        # Without a connection nothing was sent: a second try cannot answer twice. A poll that
        # cannot connect has the backoff.
        self._posts = ConnectionPool(host, port, connect or _connect, attempts=2)
        self._backoff = backoff or Backoff(clock=monotonic, random=random.random)
        self._stop = anyio.Event()  # loop thread only

    async def next(self) -> Invocation:
        """See `model.RuntimeApi.next`."""
        while True:
            step: Invocation | PollAgain | Fault
            try:
                response = await self._polls.exchange(self._requests.poll)
            except RuntimeApiError as exc:
                step = Fault(str(exc))
            else:
                step = read_poll(response, wall_time_s=wall_time(), monotonic_s=monotonic())
            if isinstance(step, Invocation):
                self._note_contact()
                return step
            if isinstance(step, Fault):
                await self._wait_after(step)
            else:
                self._note_contact()
                # An emulator that ends polls at once must not keep the loop spinning.
                await anyio.sleep(_POLL_AGAIN_S)

    async def respond(self, invocation: Invocation, success: Success) -> PostResult:
        """See `model.RuntimeApi.respond`; what cannot be accepted is reported as an error."""
        size_bytes = len(success.body)
        if size_bytes > MAX_RESPONSE_BYTES:
            failure = oversized_response(size_bytes, MAX_RESPONSE_BYTES)
            result = await self.fail(invocation, failure)
            if result.verdict is not PostVerdict.ACCEPTED:
                return result
            too_large = PostResult(PostVerdict.TOO_LARGE, failure.message)
            return self._report("response", invocation.request_id, too_large)
        request = self._requests.response(invocation, success)
        return await self._post("response", invocation.request_id, request)

    async def fail(self, invocation: Invocation, failure: Failure) -> PostResult:
        """See `model.RuntimeApi.fail`."""
        request_id = invocation.request_id
        request = self._requests.error(request_id, invocation.invocation_id, failure)
        result = await self._post("error", request_id, request)
        if result.verdict is PostVerdict.TOO_LARGE:
            # Of all refusals only this one leaves the invocation unanswered.
            short = without_details(failure)
            request = self._requests.error(request_id, invocation.invocation_id, short)
            result = await self._post("shortened error", request_id, request)
        return result

    @asynccontextmanager
    async def stream(self, invocation: Invocation, head: Streaming) -> AsyncIterator[AnswerStream]:
        """
        See `model.RuntimeApi.stream`.

        Left without `finish` or `fail`, the upload is cut off, and the platform sees a
        truncated response.
        """

        def settle(result: PostResult) -> PostResult:
            return self._report("streamed response", invocation.request_id, result)

        try:
            connection = await self._posts.lend()
        except ConnectFailed as exc:
            yield LostStream(settle(PostResult(PostVerdict.LOST, str(exc))))
            return
        upload = UploadStream(connection, invocation.request_id, settle)
        try:
            await connection.send(self._requests.stream_head(invocation, head))
            yield upload
        finally:
            await self._posts.take_back(connection)

    def stopping(self) -> None:
        """See `model.RuntimeApi.stopping`."""
        self._stop.set()

    async def aclose(self) -> None:
        """See `model.RuntimeApi.aclose`."""
        self._stop.set()
        await self._polls.aclose()
        await self._posts.aclose()

    async def _wait_after(self, fault: Fault) -> None:
        if not self._stop.is_set():
            pause = self._backoff.fault()
            if pause.hopeless:
                raise RuntimeApiUnreachable(f"No contact with the Runtime API: {fault.detail}")
            if pause.first:
                _log.warning("Polling the Runtime API failed, trying on: %s", fault.detail)
            with anyio.move_on_after(pause.delay_s):
                await self._stop.wait()
        if self._stop.is_set():
            raise RuntimeApiClosed(f"The Runtime API is gone: {fault.detail}")

    async def _post(self, what: str, request_id: str, request: bytes) -> PostResult:
        try:
            response = await self._posts.exchange(request)
        except RuntimeApiError as exc:
            result = PostResult(PostVerdict.LOST, str(exc))
        else:
            self._note_contact()
            result = read_post(response)
        return self._report(what, request_id, result)

    def _note_contact(self) -> None:
        if self._backoff.contact():
            _log.info("The Runtime API answers again.")

    def _report(self, what: str, request_id: str, result: PostResult) -> PostResult:
        if result.verdict is not PostVerdict.ACCEPTED:
            _log.log(
                _LEVELS[result.verdict],
                "The Runtime API did not take the %s to request %s (%s): %s",
                what,
                request_id,
                result.verdict.value,
                result.detail,
            )
        return result


async def _connect(host: str, port: int) -> Connection:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return await connect_anyio(host, port)
    return await connect_asyncio(host, port)
