"""moto's server on loopback, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

import pytest

from tests.support.patience import PATIENCE_S

__all__ = ["moto"]


@contextmanager
def moto() -> Iterator[str]:
    """Where an AWS is that nothing has been made in yet."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        _forget_everything(f"http://{host}:{port}")
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def _forget_everything(endpoint: str) -> None:
    """All servers of a process keep the same things, those of earlier ones as well."""
    urlopen(Request(f"{endpoint}/moto-api/reset", method="POST"), timeout=PATIENCE_S).close()
