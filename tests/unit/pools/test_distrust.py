"""One broken connection casts doubt on the others, however recently they were used."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lmi_runtime.pools import Connector, Pool
from lmi_runtime.pools.lease import Lease


class Server:
    """Connections are numbers; those up to `dead` have been broken by a restart."""

    def __init__(self) -> None:
        self.opened = 0
        self.dead = 0
        self.checked: list[int] = []

    def open(self) -> int:
        self.opened += 1
        return self.opened

    def check(self, connection: int) -> None:
        self.checked.append(connection)
        if not self.usable(connection):
            raise ConnectionError

    def usable(self, connection: int) -> bool:
        return connection > self.dead

    def restart(self) -> None:
        self.dead = self.opened


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def pool(server: Server) -> Iterator[Pool[int]]:
    """Looks at a connection before lending it only where it has a reason to."""
    connector = Connector(open=server.open, check=server.check)
    pool = Pool(connector, max_size=3, bypass_check_s=1000)
    yield pool
    pool.close()


def lease_all(pool: Pool[int]) -> list[Lease[int]]:
    leases = [pool.lease() for _ in range(pool.options.max_size)]
    for lease in leases:
        lease.acquire()
    return leases


def test_what_comes_back_broken_has_the_others_checked(server: Server) -> None:
    connector = Connector(open=server.open, check=server.check, usable=server.usable)
    # Only lent connections show that they are broken: those that lie idle are not asked.
    pool = Pool(connector, max_size=3, bypass_check_s=1000)
    last, *others = lease_all(pool)
    for lease in others:
        lease.release()
    server.restart()

    last.release()

    assert [pool.lease().acquire() for _ in range(3)] == [4, 5, 6]
    pool.close(0)


def test_a_check_that_fails_has_the_others_checked(server: Server, pool: Pool[int]) -> None:
    for lease in lease_all(pool):
        lease.release()
    server.restart()
    pool._engine.state.lanes[None].idle[-1].distrust()

    with pool.lease() as connection:
        assert connection == 4

    assert sorted(server.checked) == [1, 2, 3]


def test_what_is_discarded_says_nothing_of_the_others(server: Server, pool: Pool[int]) -> None:
    last, *others = lease_all(pool)
    for lease in others:
        lease.release()

    last.discard()
    last.release()
    with pool.lease():
        pass

    assert server.checked == []
