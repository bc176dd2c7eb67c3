"""A process gives up its hold of a socket, and nobody else is any the wiser."""

from __future__ import annotations

import os
import socket
import stat

from lmi_runtime.pools.adapters.sockets import let_go_of_socket


def test_the_other_end_hears_nothing_while_somebody_else_has_the_socket() -> None:
    here, there = socket.socketpair()
    with here, there, here.dup() as parents:
        let_go_of_socket(here.fileno())
        os.write(here.fileno(), b"goodbye")

        there.setblocking(False)
        parents.sendall(b"still here")
        assert there.recv(100) == b"still here"


def test_the_other_end_notices_when_nobody_has_it_any_more() -> None:
    here, there = socket.socketpair()
    with here, there:
        let_go_of_socket(here.fileno())

        assert there.recv(1) == b""


def test_its_number_stays_taken() -> None:
    """A driver that closes it later must not close another file."""
    here, there = socket.socketpair()
    with here, there:
        let_go_of_socket(here.fileno())

        assert stat.S_ISCHR(os.fstat(here.fileno()).st_mode)
        assert not os.get_inheritable(here.fileno())


def test_what_is_closed_already_is_left_alone() -> None:
    here, there = socket.socketpair()
    number = here.fileno()
    with here, there:
        pass

    let_go_of_socket(number)
    let_go_of_socket(-1)
