"""A small asyncio runtime for the emulator's tests: polls, answers, and breaks rules on demand."""

from __future__ import annotations

import asyncio
import http.client
import io
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Reply:
    """A response, header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Bytes:
    """What `http.client` takes for a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def parse(data: bytes) -> Reply:
    """Parse one whole response."""
    response = http.client.HTTPResponse(_Bytes(data))  # type: ignore[arg-type]
    response.begin()
    body = response.read()
    return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, body)


class Client:
    """One keep-alive connection to `host:port`."""

    def __init__(self, address: str) -> None:
        self._host, _, port = address.partition(":")
        self._port = int(port)
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def __aenter__(self) -> Client:
        self.reader, self.writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        fields = {"Host": "x", "Content-Length": str(len(body)), **(headers or {})}
        lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items()), "", ""]
        self.writer.write("\r\n".join(lines).encode() + body)
        await self.writer.drain()

    async def receive(self) -> Reply | None:
        """Read one response; None if the connection ends without one."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        fields = head.lower()
        if b"transfer-encoding: chunked" in fields:
            body = await self.reader.readuntil(b"0\r\n\r\n")
        elif b"content-length: " in fields:
            length = int(fields.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = await self.reader.readexactly(length)
        else:
            body = b""
        return parse(head + body)

    async def poll(self) -> None:
        await self.send("GET", "/2018-06-01/runtime/invocation/next")

    async def post(self, what: str, event: Reply, body: bytes = b"{}", **headers: str) -> None:
        request_id = event.headers["lambda-runtime-aws-request-id"]
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if "lambda-runtime-invocation-id" in event.headers:
            fields.setdefault(
                "Lambda-Runtime-Invocation-Id", event.headers["lambda-runtime-invocation-id"]
            )
        await self.send("POST", f"/2018-06-01/runtime/invocation/{request_id}/{what}", body, fields)

    async def serve(self, count: int = 1, body: bytes = b"{}") -> None:
        """Poll and answer *count* times."""
        for _ in range(count):
            await self.poll()
            event = await self.receive()
            assert event is not None
            await self.post("response", event, body)
            reply = await self.receive()
            assert reply is not None and reply.status == 202
