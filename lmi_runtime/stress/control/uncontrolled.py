"""What an event loop cannot do under control, and says so instead of doing it."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from lmi_runtime.stress.control.active import caller

__all__ = ["Refuses", "UncontrolledIO", "refuse"]


class UncontrolledIO(OSError):
    """Code under control asked its event loop for real input or output."""


def refuse(what: str) -> NoReturn:
    """
    Note that `what` was asked for, and from where, and do not do it.

    Raises:
        UncontrolledIO: Always.

    Thread safety: by the holder of the baton.
    """
    frame = _of_user(sys._getframe(1))
    where = ""
    if frame is not None:
        where = f" at {frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
    text = (
        f"{what}{where} is real input or output, which is not under control. Fake it for the "
        "test: replace the client, or what it connects with."
    )
    here = caller()
    if here is not None and text not in here[0].uncontrolled:
        here[0].uncontrolled.append(text)
    raise UncontrolledIO(text)


_LIBRARIES = (
    sysconfig.get_path("stdlib"),
    sysconfig.get_path("purelib"),
    sysconfig.get_path("platlib"),
    __file__.rpartition("/")[0],
)


def _of_user(frame: FrameType | None) -> FrameType | None:
    while frame is not None and frame.f_code.co_filename.startswith(_LIBRARIES):
        frame = frame.f_back
    return frame


def _refusing(name: str) -> Callable[..., NoReturn]:
    def method(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
        refuse(f"loop.{name}()")

    method.__name__ = name
    return method


class Refuses:
    """Mixed in before an event loop: what does real input and output there is refused."""


_REFUSED = """
add_reader add_signal_handler add_writer connect_accepted_socket connect_read_pipe
connect_write_pipe create_connection create_datagram_endpoint create_server
create_unix_connection create_unix_server getaddrinfo getnameinfo remove_reader
remove_signal_handler remove_writer sendfile sock_accept sock_connect sock_recv sock_recv_into
sock_recvfrom sock_recvfrom_into sock_sendall sock_sendfile sock_sendto start_tls
subprocess_exec subprocess_shell
"""

for _name in _REFUSED.split():
    setattr(Refuses, _name, _refusing(_name))
