"""A real PostgreSQL server on loopback, in a folder of its own, for as long as a test needs it."""

from __future__ import annotations

import atexit
import functools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import psycopg
import pytest

from tests.support.patience import PATIENCE_S

__all__ = ["PostgresServer", "postgres_available", "require_postgres"]

START_ATTEMPTS = 4
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
RESERVED_FOR_SUPERUSERS = 3

# Nothing here outlives a test, so nothing has to reach the disk.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "16MB",
    "dynamic_shared_memory_type": "mmap",
    "superuser_reserved_connections": RESERVED_FOR_SUPERUSERS,
    "log_min_messages": "fatal",
}

SETUP = b"CREATE ROLE app LOGIN;\nGRANT CREATE ON SCHEMA public TO app;\n"


def postgres_available() -> str | None:
    """Return why no server can run here, or None when one can."""
    if _programs() is None:
        return "PostgreSQL's server programs (initdb, postgres) are not installed"
    if os.geteuid() == 0 and _account() is None:
        return "PostgreSQL refuses to run as root and there is no user `postgres`"
    return None


def require_postgres() -> None:
    """Skip the running test where there is no server; fail it if LMI_REQUIRE_SERVERS=1."""
    if (reason := postgres_available()) is None:
        return
    if os.environ.get("LMI_REQUIRE_SERVERS") == "1":
        pytest.fail(f"PostgreSQL must run here: {reason}", pytrace=False)
    pytest.skip(f"not run: {reason}")


def _free_port() -> int:
    """
    A port on loopback that nothing listens on.

    Taken from below the range that outgoing connections take theirs from: a server that is down
    for a moment finds its port again.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class PostgresServer:
    """
    One server: started on entry, stopped and removed on exit. Skips the test where there is none.

    Clients come in as `app`, who is nobody special; the methods here come in as the superuser,
    for whom the server keeps a few connections back.

    Args:
        max_connections: How many `app` may have, less those that the superuser has just now.
        settings: More of what postgresql.conf may hold.
    """

    def __init__(
        self, *, max_connections: int = 100, settings: Mapping[str, object] | None = None
    ) -> None:
        self._settings = SETTINGS | {
            "max_connections": max_connections + RESERVED_FOR_SUPERUSERS,
            **(settings or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path()
        self.host = "127.0.0.1"
        self.port = 0

    def __enter__(self) -> PostgresServer:
        require_postgres()
        self._folder = _private_folder("lmi-postgres-")
        shutil.copytree(_template(), self._data, copy_function=shutil.copyfile)
        _give_away(self._folder)
        self._data.chmod(0o700)
        try:
            self._start_somewhere()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop("immediate")
        shutil.rmtree(self._folder)

    @property
    def dsn(self) -> str:
        """How clients come in."""
        return self.dsn_through(self.port)

    def dsn_through(self, port: int) -> str:
        """How clients come in by another port, such as a proxy's."""
        return f"postgresql://app@{self.host}:{port}/postgres"

    def url(self, driver: str) -> str:
        """The same in SQLAlchemy's way of writing it."""
        return f"postgresql+{driver}://app@{self.host}:{self.port}/postgres"

    def start(self) -> None:
        """
        Start the server and wait until it takes connections.

        Call it in the main thread: the server dies with the thread that started it.
        """
        programs = _programs()
        assert programs is not None
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        command = [programs / "postgres", "-D", self._data, "-p", str(self.port)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                # The server must not outlive a test run that is killed.
                [*_dies_with_us(), *command, "-k", self._folder, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **_as_account(),
            )
        self._wait_ready(self._process)

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """End the server: when all have left, at once with a goodbye, or as if it had crashed."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(STOP_SIGNALS[mode])
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop and start again, on the same port and with the same data."""
        self.stop(mode)
        self.start()

    def sessions(self) -> set[int]:
        """The process ids of the backends that serve `app`."""
        query = "SELECT pid FROM pg_stat_activity WHERE usename = 'app'"
        return {pid for (pid,) in self.ask(query)}

    def kill_backends(self) -> int:
        """End all sessions of `app`, and wait until they have ended. How many they were."""
        query = (
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE usename = 'app'"
        )
        return len(self.ask(query))

    def wait_sessions(self, count: int, *, timeout_s: float = PATIENCE_S) -> set[int]:
        """Wait until `app` has `count` sessions. A client's goodbye takes a moment to arrive."""
        ends = time.monotonic() + timeout_s
        while len(sessions := self.sessions()) != count:
            assert time.monotonic() < ends, f"{len(sessions)} sessions instead of {count}"
            time.sleep(0.01)
        return sessions

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query that the superuser asks on a connection of their own."""
        address = f"host={self.host} port={self.port} user=postgres dbname=postgres"
        with psycopg.connect(address, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _start_somewhere(self) -> None:
        # Another test may take the port between the choice and the start.
        for attempt in range(1, START_ATTEMPTS + 1):
            self.port = _free_port()
            try:
                return self.start()
            except RuntimeError:
                self.stop("immediate")
                if attempt == START_ATTEMPTS:
                    raise

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        ends = time.monotonic() + PATIENCE_S
        while not _says_ready(self._data / "postmaster.pid", process.pid):
            if process.poll() is not None or time.monotonic() > ends:
                log = (self._folder / "log").read_text(errors="replace")
                raise RuntimeError(f"PostgreSQL did not start:\n{log}")
            time.sleep(0.005)


def _says_ready(path: Path, pid: int) -> bool:
    # The file that a crash left behind names another process.
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"


@functools.cache
def _programs() -> Path | None:
    found = [*Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    found.sort(key=lambda path: int(path.parts[-3]) if path.parts[-3].isdigit() else 0)
    if not found and (elsewhere := shutil.which("postgres")):
        found = [Path(elsewhere).resolve()]
    folder = found[-1].parent if found else None
    return folder if folder is not None and (folder / "initdb").exists() else None


@functools.cache
def _account() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None


def _as_account() -> dict[str, Any]:
    account = _account()
    if os.geteuid() != 0 or account is None:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": ()}


def _dies_with_us() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "QUIT"] if setpriv else []


def _private_folder(prefix: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    _give_away(folder)
    return folder


def _give_away(folder: Path) -> None:
    account = _account()
    if os.geteuid() != 0 or account is None:
        return
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, account.pw_uid, account.pw_gid)


@functools.cache
def _template() -> Path:
    """A cluster that each server copies: making one takes the better part of a second."""
    programs = _programs()
    assert programs is not None
    folder = _private_folder("lmi-postgres-template-")
    _remove_at_exit(folder)
    data = folder / "data"
    options = ["--no-sync", "--auth=trust", "--username=postgres", "--no-locale", "--encoding=UTF8"]
    _run([programs / "initdb", "-D", data, *options])
    _run([programs / "postgres", "--single", "-D", data, "postgres"], SETUP)
    return data


def _remove_at_exit(folder: Path) -> None:
    """Remove `folder` when this process ends; not when a child that it forked does."""
    owner = os.getpid()
    atexit.register(lambda: os.getpid() == owner and shutil.rmtree(folder, ignore_errors=True))


def _run(command: list[Any], stdin: bytes = b"") -> None:
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        check=False,
        cwd="/",
        timeout=PATIENCE_S,
        **_as_account(),
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout!r}\n{done.stderr!r}")
