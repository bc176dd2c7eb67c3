"""What adapters do to sockets behind a driver's back."""

from __future__ import annotations

import contextlib
import os

__all__ = ["let_go_of_socket"]


def let_go_of_socket(descriptor: int) -> None:
    """
    Give up this process's hold of a socket, sending nothing.

    The number goes on being open, on the null device: what a driver still writes, such as its
    goodbye, goes nowhere, and the number cannot come to mean another file meanwhile. The other
    end notices when no other process has the socket either.

    Thread safety: from any thread, and from what runs after a fork.
    """
    with contextlib.suppress(OSError):  # closed already
        os.fstat(descriptor)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.dup2(null, descriptor, inheritable=False)
        finally:
            os.close(null)
