"""The server and the proxy that other tests here stand on do what they are told."""

from __future__ import annotations

import socket

import psycopg
import pytest

from tests.support.fault_proxy import FaultProxy
from tests.support.patience import PATIENCE_S
from tests.support.postgres_server import PostgresServer

pytestmark = pytest.mark.system

ASKS_FOR_TLS = bytes.fromhex("0000000804d2162f")


def test_backends_that_are_killed_are_gone(postgres: PostgresServer) -> None:
    with psycopg.connect(postgres.dsn) as connection:
        assert postgres.sessions() == {connection.info.backend_pid}

        assert postgres.kill_backends() == 1

        assert postgres.sessions() == set()
        with pytest.raises(psycopg.errors.AdminShutdown):
            connection.execute("SELECT 1")


def test_a_restart_ends_sessions_and_keeps_the_address(postgres: PostgresServer) -> None:
    before = psycopg.connect(postgres.dsn)

    postgres.restart("immediate")

    with before, pytest.raises(psycopg.OperationalError):
        before.execute("SELECT 1")
    with psycopg.connect(postgres.dsn) as after:
        assert after.execute("SELECT 1").fetchone() == (1,)


def test_guests_have_as_many_connections_as_agreed_and_the_superuser_more() -> None:
    with PostgresServer(max_connections=1) as server, psycopg.connect(server.dsn):
        with pytest.raises(psycopg.OperationalError, match="remaining connection slots"):
            psycopg.connect(server.dsn)

        assert len(server.sessions()) == 1


def test_proxy_holds_bytes_back_until_it_passes_them_on(
    postgres: PostgresServer, postgres_proxy: FaultProxy
) -> None:
    with socket.create_connection(("127.0.0.1", postgres_proxy.port)) as client:
        postgres_proxy.stall()
        client.sendall(ASKS_FOR_TLS)
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(1)

        postgres_proxy.pass_on()

        client.settimeout(PATIENCE_S)
        assert client.recv(1) == b"N"


def test_proxy_swallows_even_goodbyes(postgres: PostgresServer, postgres_proxy: FaultProxy) -> None:
    connection = psycopg.connect(postgres.dsn_through(postgres_proxy.port))
    postgres_proxy.drop()

    connection.close()

    assert len(postgres.sessions()) == 1


def test_proxy_resets_connections_and_serves_new_ones(
    postgres: PostgresServer, postgres_proxy: FaultProxy
) -> None:
    address = postgres.dsn_through(postgres_proxy.port)
    with psycopg.connect(address) as connection:
        postgres_proxy.reset()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")

    with psycopg.connect(address) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
