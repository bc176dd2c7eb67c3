"""An X-Ray daemon on loopback that keeps what it was sent, and recorders that send to it."""

from __future__ import annotations

import atexit
import json
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.crowd import request_of
from tests.support.patience import PATIENCE_S

__all__ = ["Daemon", "daemon", "facts_of", "recording", "subsegments_of"]

_END = b"all of it"
_closed_at_exit: list[Any] = []
"""The socket of the SDK's recorder, which nobody else closes."""


class Daemon:
    """Thread safety: `documents` from one thread at a time."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.bind(("127.0.0.1", 0))
        self._documents: list[dict[str, Any]] = []
        self._seen = threading.Event()
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """As recorders take it."""
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    def documents(self) -> list[dict[str, Any]]:
        """Everything that was sent until now: loopback delivers in order."""
        self._seen.clear()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(_END, self._socket.getsockname())
        assert self._seen.wait(PATIENCE_S)
        return list(self._documents)

    def forget(self) -> None:
        """Begin anew."""
        self.documents()
        self._documents.clear()

    def close(self) -> None:
        """Stop receiving."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", self._socket.getsockname())
        self._thread.join(PATIENCE_S)
        self._socket.close()

    def _receive(self) -> None:
        while packet := self._socket.recv(1 << 16):
            if packet == _END:
                self._seen.set()
            else:
                header, document = packet.split(b"\n", 1)
                assert json.loads(header) == {"format": "json", "version": 1}
                self._documents.append(json.loads(document))


@contextmanager
def daemon() -> Iterator[Daemon]:
    """One for the block."""
    made = Daemon()
    try:
        yield made
    finally:
        made.close()


@contextmanager
def recording(daemon: Daemon, context: Any, *, streaming_threshold: int = 0) -> Iterator[Any]:
    """The SDK's recorder, with that context, sending there."""
    from aws_xray_sdk.core import xray_recorder as recorder
    from aws_xray_sdk.core.sampling.local.sampler import LocalSampler

    if not _closed_at_exit:
        _closed_at_exit.append(atexit.register(recorder.emitter._socket.close))
    before = vars(recorder).copy()
    threshold = recorder.streaming_threshold
    address = f"{recorder.emitter.ip}:{recorder.emitter.port}"
    recorder.configure(
        context=context,
        daemon_address=daemon.address,
        sampler=LocalSampler(),
        sampling=False,
        streaming_threshold=streaming_threshold,
    )
    recorder.clear_trace_entities()
    try:
        yield recorder
    finally:
        recorder.clear_trace_entities()
        vars(recorder).update(before)
        recorder.streaming_threshold = threshold
        recorder.emitter.set_daemon_address(address)


def facts_of(number: int) -> tuple[str, str]:
    """The trace, and the platform's segment, of a request of the crowd."""
    root, parent, _ = str(request_of(number).trace_id).split(";")
    return root.removeprefix("Root="), parent.removeprefix("Parent=")


def subsegments_of(documents: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All of them, those within others as well; each knows its parent and its trace."""
    for document in documents:
        yield document
        children = document.get("subsegments", ())
        assert {child["parent_id"] for child in children} <= {document["id"]}
        yield from subsegments_of(children)
