"""The Runtime API and the part of the Extensions API that a runtime uses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from urllib.parse import quote_from_bytes, unquote_to_bytes

from lmi_runtime.emulator import answers
from lmi_runtime.emulator.answers import Reply
from lmi_runtime.emulator.encoding import header_line
from lmi_runtime.emulator.extensions import Registered
from lmi_runtime.emulator.facts import Invocation, Poll, PostHead
from lmi_runtime.emulator.faults import Call, Fault, FaultKind
from lmi_runtime.emulator.host import Host, WaitingPoll
from lmi_runtime.emulator.http import Endpoint, Exchange
from lmi_runtime.emulator.options import MAX_ERROR_BYTES, MAX_RESPONSE_BYTES, EmulatorOptions

# What Go leaves alone in a path, beside letters, digits and `-_.~`.
_UNESCAPED = b"$&+,/:;=@"
_INVOCATION = b"/2018-06-01/runtime/invocation/"
# What the read buffer of a Go server holds, the blank line at the end included.
_MAX_TRAILERS_BYTES = 4096


class FaultyEndpoint(Endpoint):
    """
    An endpoint whose calls a script may disturb. Subclasses act in `serve`.

    Thread safety: loop thread only.
    """

    call: Call

    def __init__(self, host: Host) -> None:
        self.host = host

    def begin(self, exchange: Exchange) -> None:
        fault = self.host.faults.take(self.call)
        exchange.fault = fault
        if fault is None:
            self.head(exchange)
        elif fault.kind is FaultKind.RESET_UPLOAD:
            exchange.reset()
        elif fault.kind is FaultKind.REPLY_EARLY:
            exchange.reply(scripted_reply(fault.status), close=True)
        elif fault.kind not in (FaultKind.REPLY, FaultKind.HANG_UP):
            self.head(exchange)

    def complete(self, exchange: Exchange) -> None:
        fault = exchange.fault
        if fault is None:
            self.serve(exchange)
        else:
            self._disturb(exchange, fault)

    def _disturb(self, exchange: Exchange, fault: Fault) -> None:
        if fault.kind is FaultKind.REPLY:
            exchange.reply(scripted_reply(fault.status))
        elif fault.kind is FaultKind.HANG_UP:
            exchange.hang_up()
        elif fault.kind is FaultKind.DELAY:
            loop = asyncio.get_running_loop()
            loop.call_later(fault.delay_s, self._serve_late, exchange)
        else:
            self.serve(exchange)

    def _serve_late(self, exchange: Exchange) -> None:
        if not exchange.connection.is_closed:
            self.serve(exchange)

    def head(self, exchange: Exchange) -> None:
        """The head has arrived, and no fault swallows the request."""

    def serve(self, exchange: Exchange) -> None:
        """The whole request has arrived."""
        raise NotImplementedError


def scripted_reply(status: int) -> Reply:
    """The reply AWS's emulator has for *status*, or one that looks like it."""
    known = {
        reply.status: reply
        for reply in (
            answers.INVALID_REQUEST_ID,
            answers.INVOKE_TIMEOUT,
            answers.TOO_LARGE,
            answers.INTERNAL_ERROR,
            answers.SECOND_INIT_ERROR,
            answers.ACCEPTED,
        )
    }
    return known.get(status) or Reply(status, "ScriptedFault", f"Status {status}")


class NextEndpoint(FaultyEndpoint):
    """GET invocation/next."""

    call: Call = "next"

    def serve(self, exchange: Exchange) -> None:
        fault = exchange.fault
        if (
            fault is not None
            and fault.kind is FaultKind.REDELIVER
            and self.host.redeliver(exchange)
        ):
            return
        poll = WaitingPoll(exchange, fault)
        exchange.context = poll
        refusal = self.host.environment.poll(poll)
        if refusal is not None:
            exchange.reply(refusal)
        self.host.flush()

    def abandoned(self, exchange: Exchange) -> None:
        if isinstance(exchange.context, Poll):
            self.host.environment.abandon(exchange.context)
            self.host.flush()


def decode_request_id(segment: bytes) -> bytes:
    """
    Decode a path segment the way AWS's router does.

    It compares with its own encoding of the decoded path and, where they differ (`%2F`, `%26`),
    takes the segment as it came. Such ids cannot be answered.
    """
    if b"%" not in segment:
        return segment
    decoded = unquote_to_bytes(segment)
    return decoded if quote_from_bytes(decoded, _UNESCAPED).encode() == segment else segment


def _post_head(exchange: Exchange) -> PostHead:
    header = exchange.header
    request_id = exchange.path[len(_INVOCATION) :].rpartition(b"/")[0]
    return PostHead(
        decode_request_id(request_id).decode("utf-8", "surrogateescape"),
        header(b"lambda-runtime-invocation-id"),
        header(b"content-type"),
        header(b"lambda-runtime-function-response-mode"),
        header(b"lambda-runtime-function-error-type"),
    )


def _trailers_bytes(exchange: Exchange) -> int:
    lines = sum(len(name) + len(value) + 4 for name, value in exchange.trailers.items())
    return lines + 2


class PostEndpoint(FaultyEndpoint):
    """What POST response and POST error share."""

    def _time_out_first(self, exchange: Exchange, head: PostHead) -> None:
        fault = exchange.fault
        if fault is not None and fault.kind is FaultKind.TIME_OUT_FIRST:
            invocation = self.host.environment.running(head.request_id)
            if invocation is not None:
                self.host.environment.time_out(invocation)

    def _reply(self, exchange: Exchange, reply: Reply | None) -> None:
        fault = exchange.fault
        if fault is not None and fault.kind is FaultKind.DROP_REPLY:
            invocation_id = exchange.header(b"lambda-runtime-invocation-id")
            self.host.environment.audit.forgive(invocation_id)
            reply = None
        if reply is None:
            exchange.hang_up()
        else:
            exchange.reply(reply)


class ResponseEndpoint(PostEndpoint):
    """POST invocation/{id}/response: the invocation is claimed as soon as the head is read."""

    call: Call = "response"
    limit_bytes = MAX_RESPONSE_BYTES

    def head(self, exchange: Exchange) -> None:
        head = _post_head(exchange)
        self._time_out_first(exchange, head)
        begun = self.host.environment.begin_response(head)
        if isinstance(begun, Reply):
            exchange.refuse(begun)
        else:
            exchange.context = (begun, head)
        self.host.flush()

    def serve(self, exchange: Exchange) -> None:
        if _trailers_bytes(exchange) > _MAX_TRAILERS_BYTES:
            self.truncated(exchange)
            return
        invocation, head = exchange.context
        trailers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in exchange.trailers.items()
        }
        body = exchange.body()
        reply = self.host.environment.finish_response(invocation, head, body, trailers)
        self._reply(exchange, reply)
        self.host.flush()

    def oversized(self, exchange: Exchange) -> None:
        self._give_up(exchange, self.host.environment.oversized_response)

    def truncated(self, exchange: Exchange) -> None:
        self._give_up(exchange, self.host.environment.truncated_response)

    def _give_up(self, exchange: Exchange, decide: Callable[[Invocation], Reply | None]) -> None:
        if exchange.context is None:
            exchange.hang_up()
            return
        invocation, _ = exchange.context
        reply = decide(invocation)
        if reply is None:
            exchange.hang_up()
        else:
            exchange.refuse(reply)
            if exchange.connection.is_deaf:
                exchange.reply(reply, close=True)
        self.host.flush()


class ErrorEndpoint(PostEndpoint):
    """POST invocation/{id}/error: nothing is looked up before the body is whole."""

    call: Call = "error"
    limit_bytes = MAX_ERROR_BYTES

    def serve(self, exchange: Exchange) -> None:
        head = _post_head(exchange)
        self._time_out_first(exchange, head)
        self._reply(exchange, self.host.environment.post_error(head, exchange.body()))
        self.host.flush()

    def oversized(self, exchange: Exchange) -> None:
        exchange.reply(answers.TOO_LARGE, close=True)

    def truncated(self, exchange: Exchange) -> None:
        exchange.reply(answers.TOO_LARGE, close=True)


class InitErrorEndpoint(FaultyEndpoint):
    """POST init/error: only the header counts."""

    call: Call = "init_error"

    def serve(self, exchange: Exchange) -> None:
        error_type = exchange.header(b"lambda-runtime-function-error-type")
        exchange.reply(self.host.environment.init_error(error_type))
        self.host.flush()


class RegisterEndpoint(Endpoint):
    """POST extension/register."""

    def __init__(self, host: Host, options: EmulatorOptions) -> None:
        self._host = host
        facts = {
            "functionName": options.function_name,
            "functionVersion": options.function_version,
            "handler": options.handler,
        }
        self._body = json.dumps(facts, separators=(",", ":")).encode() + b"\n"

    def complete(self, exchange: Exchange) -> None:
        name = exchange.header(b"lambda-extension-name")
        outcome = self._host.environment.extensions.register(name, exchange.body())
        if isinstance(outcome, Registered):
            head = header_line("Lambda-Extension-Identifier", outcome.identifier)
            exchange.send(200, b"Content-Type: application/json\r\n" + head, self._body)
        else:
            exchange.reply(outcome)


class EventNextEndpoint(Endpoint):
    """GET extension/event/next: never answered, an internal extension has no events."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def complete(self, exchange: Exchange) -> None:
        identifier = exchange.header(b"lambda-extension-identifier")
        refusal = self._host.environment.extensions.ready(identifier)
        if refusal is not None:
            exchange.reply(refusal)
            return
        self._host.environment.check_ready()
        self._host.flush()


class PingEndpoint(Endpoint):
    """GET ping."""

    def complete(self, exchange: Exchange) -> None:
        exchange.send(200, b"Content-Type: text/plain; charset=utf-8\r\n", b"pong")


class PlainError(Endpoint):
    """404 and 405 the way Go's router words them."""

    def __init__(self, status: int, body: bytes = b"") -> None:
        self._status = status
        self._body = body

    def complete(self, exchange: Exchange) -> None:
        head = b"Content-Type: text/plain; charset=utf-8\r\n" if self._body else b""
        exchange.send(self._status, head, self._body)


NOT_FOUND = PlainError(404, b"404 page not found\n")
WRONG_METHOD = PlainError(405)


def runtime_router(host: Host, options: EmulatorOptions) -> Callable[[Exchange], Endpoint]:
    """Route of the Runtime API server."""
    next_endpoint = NextEndpoint(host)
    fixed = {
        b"/2018-06-01/runtime/invocation/next": (b"GET", next_endpoint),
        b"/2018-06-01/runtime/init/error": (b"POST", InitErrorEndpoint(host)),
        b"/2018-06-01/ping": (b"GET", PingEndpoint()),
        b"/2020-01-01/extension/register": (b"POST", RegisterEndpoint(host, options)),
        b"/2020-01-01/extension/event/next": (b"GET", EventNextEndpoint(host)),
    }
    posts = {b"response": ResponseEndpoint(host), b"error": ErrorEndpoint(host)}

    def route(exchange: Exchange) -> Endpoint:
        method, endpoint = fixed.get(exchange.path, (b"POST", None))
        if endpoint is None and exchange.path.startswith(_INVOCATION):
            request_id, _, action = exchange.path[len(_INVOCATION) :].rpartition(b"/")
            if request_id and b"/" not in request_id:
                endpoint = posts.get(action)
        if endpoint is None:
            return NOT_FOUND
        return endpoint if exchange.method == method else WRONG_METHOD

    return route
