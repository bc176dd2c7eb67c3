"""
A real Redis (or Valkey) on loopback, for as long as a test needs it.

    with RedisServer(max_clients=4) as server:
        redis.Redis.from_url(server.url).ping()

It keeps nothing on disk, listens on 127.0.0.1 alone, and is gone on exit.
"""

from __future__ import annotations

import functools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.support.patience import PATIENCE_S

__all__ = ["RedisServer", "redis_available", "require_redis"]

_POLL_INTERVAL_S = 0.002
_START_ATTEMPTS = 4

Reply = str | int | None | list["Reply"]


@functools.cache
def redis_available() -> str | None:
    """Return why no server can run here, or None when one can."""
    if _program() is None:
        return "neither valkey-server nor redis-server is installed"
    return None


def require_redis() -> None:
    """Skip the running test where there is no server; fail it if LMI_REQUIRE_SERVERS=1."""
    if (reason := redis_available()) is None:
        return
    if os.environ.get("LMI_REQUIRE_SERVERS") == "1":
        pytest.fail(f"a Redis server must run here: {reason}", pytrace=False)
    pytest.skip(f"not run: {reason}")


class RedisServer:
    """
    One server process; a context manager, which skips the test where there is none.

    Args:
        max_clients: Connections it takes at once, beside the one that this harness keeps.
        password: What clients have to say first; None: nothing.
        settings: More of its configuration, by name.

    Enter it in the main thread: the server dies with the thread that started it.
    """

    def __init__(
        self,
        *,
        max_clients: int = 1000,
        password: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.max_clients = max_clients
        self.password = password
        self.port = 0
        self._settings = dict(settings or {})
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._admin: _Admin | None = None

    @property
    def url(self) -> str:
        """Where it listens, as clients write it."""
        secret = f":{self.password}@" if self.password else ""
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        require_redis()
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))  # 0700
        try:
            self._start_somewhere()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def command(self, *words: str | int) -> Reply:
        """Run a command over the connection that is the harness's own."""
        assert self._admin is not None, "the server does not run"
        return self._admin.command(*words)

    def connected(self) -> int:
        """Clients connected now, without the harness."""
        return int(self._info("clients")["connected_clients"]) - 1

    def connections_ever(self) -> int:
        """Connections made since it started, without the harness's."""
        return int(self._info("stats")["total_connections_received"]) - 1

    def kill_clients(self) -> int:
        """Cut every connection but the harness's; returns how many there were."""
        kinds = ("normal", "pubsub")
        replies = [self.command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes") for kind in kinds]
        return sum(reply for reply in replies if isinstance(reply, int))

    def stop(self) -> None:
        """End it at once, as a crash would. Does nothing when it has ended."""
        if self._admin is not None:
            self._admin.close()
            self._admin = None
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_S)
            self._process = None

    def start(self) -> None:
        """Start it again, where it was."""
        assert self._process is None, "it runs"
        assert self._folder is not None
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command_line(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._admin = self._wait_for_answer()

    def restart(self) -> None:
        """End it and start it again on the same port, empty."""
        self.stop()
        self.start()

    def _start_somewhere(self) -> None:
        # Between choosing a port and listening on it, another process may take it.
        for attempt in range(_START_ATTEMPTS):
            self.port = _free_port()
            try:
                return self.start()
            except RuntimeError:
                self.stop()
                if attempt + 1 == _START_ATTEMPTS:
                    raise

    def _command_line(self) -> list[str]:
        program = _program()
        assert program is not None
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self._folder),
            "save": "",
            "appendonly": "no",
            "maxclients": str(self.max_clients + 1),
            **({"requirepass": self.password} if self.password else {}),
            **self._settings,
        }
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        # Killed with whoever started it, however that ended.
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        return [*guard, program, *words]

    def _wait_for_answer(self) -> _Admin:
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            try:
                return _Admin(self.port, self.password)
            except OSError:
                time.sleep(_POLL_INTERVAL_S)
        assert self._folder is not None
        raise RuntimeError(f"no server: {(self._folder / 'log').read_text()[-2000:]}")

    def _info(self, section: str) -> dict[str, str]:
        text = self.command("INFO", section)
        assert isinstance(text, str)
        pairs = (line.partition(":") for line in text.splitlines())
        return {name: value for name, _, value in pairs if value}


class _Admin:
    """As much of a client as the harness needs, so that it depends on none."""

    def __init__(self, port: int, password: str | None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._lines = self._socket.makefile("rb")
        try:
            if password:
                self.command("AUTH", password)
            self.command("PING")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def command(self, *words: str | int) -> Reply:
        parts = [str(word).encode() for word in words]
        frames = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self._socket.sendall(b"*%d\r\n%s" % (len(parts), frames))
        return self._reply()

    def _reply(self) -> Reply:
        line = self._lines.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server hung up")
        kind, rest = line[:1], line[1:-2].decode()
        match kind:
            case b"+":
                return rest
            case b":":
                return int(rest)
            case b"$":
                return self._bulk(int(rest))
            case b"*":
                return [self._reply() for _ in range(int(rest))]
            case _:
                raise RuntimeError(f"the server says {rest}")

    def _bulk(self, size: int) -> str | None:
        return None if size < 0 else self._lines.read(size + 2)[:-2].decode()


@functools.cache
def _program() -> str | None:
    return shutil.which("valkey-server") or shutil.which("redis-server")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
