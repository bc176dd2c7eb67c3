"""
Run code under AWS's own runtime interface emulator (RIE), the judge of what we claim.

    with Rie({"app.py": CODE}, ["-m", "awslambdaric", "app.handler"], max_concurrency=4) as rie:
        rie.wait_for_connections(4)
        assert rie.invoke(b"{}").status == 200

With `command=None` no runtime is started: the test itself polls and answers at `runtime_api`.
Every process started here lives in one mount namespace, and all of them are gone on exit.
"""

from __future__ import annotations

import functools
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.support.patience import PATIENCE_S
from tests.support.rie_binary import REPOSITORY, RieUnavailable, rie_binary
from tests.support.rie_sandbox import (
    TASK_ROOT,
    decide_sandbox,
    private_folders,
    render_exec,
    render_mounts,
    render_task_root,
)

INVOKE_PATH = "/2015-03-31/functions/function/invocations"
_POLL_INTERVAL_S = 0.005
_START_ATTEMPTS = 4


class Reply(NamedTuple):
    """What the caller of a function got; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error_type(self) -> str | None:
        """The emulator's `Error-Type` header; None means the function answered."""
        return self.headers.get("error-type")

    def json(self) -> object:
        """Return the body, decoded."""
        return json.loads(self.body)


@functools.cache
def rie_available() -> str | None:
    """Return why the emulator cannot run here, or None when it can."""
    if sys.platform != "linux":
        return "AWS's emulator runs on Linux only"
    if os.geteuid() != 0:
        return "AWS's emulator needs root"
    if shutil.which("unshare") is None:
        return "unshare (util-linux) is not installed"
    probe = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True)
    if probe.returncode:
        return f"no private mount namespace: {probe.stderr.strip()}"
    try:
        rie_binary()
    except RieUnavailable as error:
        return str(error)
    return None


class Rie:
    """
    One execution environment under AWS's emulator.

    Args:
        code: The function's files by name, or a folder that is copied.
        command: Arguments for the interpreter, run as uid 993 in `/var/task`. None starts no
            runtime.
        max_concurrency: `AWS_LAMBDA_MAX_CONCURRENCY`; None leaves it out (classic mode).
        timeout_s: The function's time-out, whole seconds; also the limit for its start.
        env: More variables of the function.
        python: The interpreter.

    Raises:
        RieUnavailable: On entering, when `rie_available()` has a reason.
        RuntimeError: On entering, when the emulator did not come up; carries its output.

    Thread safety: `invoke()` may be called from any number of threads. Enter and leave in one.
    """

    def __init__(
        self,
        code: Mapping[str, str] | Path,
        command: Sequence[str] | None,
        *,
        max_concurrency: int | None = 1,
        timeout_s: int = 60,
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        self._code = code
        self._command = command
        self._python = python
        self._env = _environment(max_concurrency, timeout_s, env or {})
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes]
        self._namespace: str
        self._hold: int | None = None
        self._output: _Output
        self._staging: Path
        self.port = 0
        self.runtime_port = 0

    # ------------------------------------------------------------------ life

    def __enter__(self) -> Self:
        if reason := rie_available():
            raise RieUnavailable(reason)
        # mkdtemp is 0700, which is right here: only the emulator, root itself, looks inside.
        self._staging = Path(tempfile.mkdtemp(prefix="lmi-rie-"))
        try:
            _write_code(self._staging / "code", self._code, self._bootstrap())
            self._start()
        except BaseException:
            shutil.rmtree(self._staging, ignore_errors=True)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._reap()
        finally:
            shutil.rmtree(self._staging, ignore_errors=True)

    def shutdown(
        self, signal_number: int = signal.SIGTERM, *, timeout_s: float = PATIENCE_S
    ) -> int:
        """
        Signal the emulator, as the platform does to end an environment, and wait for it.

        Returns:
            The emulator's exit code, negative for a signal.

        Raises:
            TimeoutExpired: It still ran after *timeout_s* seconds.
        """
        self._process.send_signal(signal_number)
        return self._process.wait(timeout_s)

    # ------------------------------------------------------------------ use

    @property
    def runtime_api(self) -> str:
        """`host:port` of the Runtime API, the form of `AWS_LAMBDA_RUNTIME_API`."""
        return f"127.0.0.1:{self.runtime_port}"

    @property
    def invoke_api(self) -> str:
        """`host:port` that callers of the function use."""
        return f"127.0.0.1:{self.port}"

    def invoke(
        self,
        event: bytes = b"{}",
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Reply:
        """
        Call the function and wait for its answer.

        Args:
            event: The request body, sent as it is.
            headers: Headers of the call, e.g. `X-Amzn-RequestId`.
            timeout_s: Seconds to wait; unless given, enough for the function to time out.

        Raises:
            OSError: No connection, or no answer in time.
        """
        limit_s = self._timeout_s + PATIENCE_S if timeout_s is None else timeout_s
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=limit_s)
        try:
            connection.request("POST", INVOKE_PATH, event, dict(headers or {}))
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, named, answer.read())
        finally:
            connection.close()

    @property
    def logs(self) -> tuple[str, ...]:
        """Every line the emulator and the function have printed so far."""
        return self._output.lines()

    def wait_for_log(
        self, wanted: Callable[[str], bool] | str, *, timeout_s: float = PATIENCE_S
    ) -> str:
        """
        Wait for a line that contains *wanted*, or for which it is true, and return it.

        Raises:
            TimeoutError: No such line within *timeout_s* seconds.
        """
        matches = (lambda line: wanted in line) if isinstance(wanted, str) else wanted
        return self._output.wait_for(matches, timeout_s)

    def pids(self) -> list[int]:
        """Return the runtime's processes, orphans included, without the emulator itself."""
        return [pid for pid in _pids_in(self._namespace) if pid != self._process.pid]

    def connections(self) -> int:
        """Return how many connections to the Runtime API are open now."""
        return _established(self.runtime_port)

    def wait_for_connections(self, count: int, *, timeout_s: float = PATIENCE_S) -> None:
        """
        Wait until *count* connections to the Runtime API are open.

        Raises:
            TimeoutError: There were fewer after *timeout_s* seconds.
        """

        def enough() -> bool:
            return self.connections() >= count

        if not _wait_until(enough, timeout_s):
            raise TimeoutError(f"{self.connections()} of {count} connections; {self._told()}")

    def wait_for_process(self) -> None:
        """
        Wait until the runtime's process is there, of a runtime that stays until it is told.

        The emulator listens a moment earlier, and hangs up on whoever posts an init error then.

        Raises:
            TimeoutError: There is none.
        """
        if not _wait_until(lambda: bool(self.pids()), PATIENCE_S):
            raise TimeoutError(f"no process was started; {self._told()}")

    # ------------------------------------------------------------------ inside

    def _bootstrap(self) -> str:
        if self._command is None:
            return "#!/bin/sh\nexec sleep 86400\n"
        # The emulator does not promise to pass this one on, so the script sets it.
        path = ":".join(filter(None, [str(REPOSITORY), self._env.get("PYTHONPATH")]))
        run = render_exec([self._python, *self._command])
        return f"#!/bin/sh\nexport PYTHONPATH='{path}'\n{run}\n"

    def _script(self, binary: Path) -> str:
        trees = {*_interpreter_trees(self._python), REPOSITORY, binary.parent}
        sandbox = decide_sandbox(trees, private=private_folders(trees))
        emulator = [
            *(binary, "--runtime-interface-emulator-address", self.invoke_api),
            *("--runtime-api-address", self.runtime_api, "--log-level", "error"),
            *(TASK_ROOT / "bootstrap", "app.handler"),
        ]
        parts = [
            "set -eu; umask 022",
            render_mounts(sandbox, staging=self._staging),
            render_task_root(self._staging / "code"),
            render_exec(emulator),
        ]
        return "\n".join(parts)

    def _start(self) -> None:
        TASK_ROOT.mkdir(parents=True, exist_ok=True)  # the mount point; stays empty out here
        for _ in range(_START_ATTEMPTS):
            self.port, self.runtime_port = _free_ports()
            self._spawn(self._script(rie_binary()))
            try:
                if _wait_until(self._answers_or_ended, PATIENCE_S) and self._alive():
                    return
            except BaseException:
                self._reap()
                raise
            self._reap()
            # Another process may have taken a port between the choice and the bind.
            if "address already in use" not in self._told():
                break
        code = self._process.returncode
        raise RuntimeError(f"the emulator did not start, exit code {code}; {self._told()}")

    def _spawn(self, script: str) -> None:
        self._process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._env,
            start_new_session=True,
        )
        self._output = _Output(self._process)
        self._namespace = _own_namespace()  # until unshare has left it
        left = _wait_until(lambda: self._look_for_namespace() or not self._alive(), PATIENCE_S)
        if not left:
            self._reap()
            raise RuntimeError(f"unshare did not leave our namespace; {self._told()}")

    def _look_for_namespace(self) -> bool:
        try:
            hold = os.open(f"/proc/{self._process.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # it has ended
            return False
        self._namespace = os.readlink(f"/proc/self/fd/{hold}")
        if self._namespace == _own_namespace():
            os.close(hold)
            return False
        # While we hold it, no other namespace gets its number: whoever reaps by number, here or
        # in another run of the tests, would kill the processes of a stranger.
        self._hold = hold
        return True

    def _alive(self) -> bool:
        return self._process.poll() is None

    def _answers_or_ended(self) -> bool:
        return not self._alive() or (_accepts(self.port) and _accepts(self.runtime_port))

    def _reap(self) -> None:
        """Kill every process in the namespace; none can leave it, wherever it was forked."""
        if self._alive():
            self._process.kill()
        self._process.wait()
        if self._hold is not None:
            ended = _wait_until(lambda: not _kill_all(self._namespace), PATIENCE_S)
            if not ended:
                raise RuntimeError(f"processes that cannot be killed: {_pids_in(self._namespace)}")
            os.close(self._hold)
            self._hold = None
        self._output.close()

    def _told(self) -> str:
        return "its output:\n" + "\n".join(self._output.lines()[-40:])


class _Output:
    """
    The lines a process prints, read as they come so that its pipe never fills.

    Thread safety: `_lines` is guarded by `_changed`; one thread of its own reads the pipe.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, name="rie-output", daemon=True)
        self._reader.start()

    def lines(self) -> tuple[str, ...]:
        with self._changed:
            return tuple(self._lines)

    def wait_for(self, matches: Callable[[str], bool], timeout_s: float) -> str:
        deadline = time.monotonic() + timeout_s
        seen = 0
        with self._changed:
            while True:
                for line in self._lines[seen:]:
                    if matches(line):
                        return line
                seen = len(self._lines)
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError("no such line in:\n" + "\n".join(self._lines[-40:]))

    def close(self) -> None:
        """Wait for the end of the pipe. The caller has killed all of its writers."""
        self._reader.join(PATIENCE_S)
        if self._reader.is_alive():
            raise RuntimeError("a process of the emulator still holds its output")

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            for raw in pipe:
                with self._changed:
                    self._lines.append(raw.decode("utf-8", "replace").rstrip("\n"))
                    self._changed.notify_all()


# ---------------------------------------------------------------------- parts


def _environment(
    max_concurrency: int | None, timeout_s: int, more: Mapping[str, str]
) -> dict[str, str]:
    """Only what is named here: nothing of the machine's own environment reaches a function."""
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        # No SDK may go and ask the network for credentials.
        "AWS_EC2_METADATA_DISABLED": "true",
        "LANG": "C.UTF-8",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout_s),
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "2048",
        "AWS_REGION": "us-east-1",
    }
    if max_concurrency is not None:
        env["AWS_LAMBDA_MAX_CONCURRENCY"] = str(max_concurrency)
    return env | dict(more)


def _write_code(target: Path, code: Mapping[str, str] | Path, bootstrap: str) -> None:
    if isinstance(code, Path):
        shutil.copytree(code, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        for name, text in code.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_text(text)
    target.mkdir(parents=True, exist_ok=True)
    (target / "bootstrap").write_text(bootstrap)


@functools.cache
def _interpreter_trees(python: str) -> frozenset[Path]:
    """Return the folders an interpreter is made of: its environment and what that is based on."""
    ask = "import sys; print(sys.prefix, sys.base_prefix, sys.base_exec_prefix, sep='\\n')"
    told = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True)
    named = [Path(line) for line in told.stdout.splitlines()]
    return frozenset([*named, *(path.resolve() for path in named)]) - {Path("/usr")}


def _free_ports() -> tuple[int, int]:
    """
    Return two ports nobody listens on.

    They lie below the range the kernel takes outgoing ports from, so no connection of another
    test can get one before the emulator binds it. Not from `random`'s shared generator: with a
    fixed seed every xdist worker would try the same ports.
    """
    dice = random.SystemRandom()
    with socket.socket() as first, socket.socket() as second:
        return _bind_any(first, dice), _bind_any(second, dice)


def _bind_any(sock: socket.socket, dice: random.Random) -> int:
    while True:
        port = dice.randrange(20_000, 32_000)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            continue
        return port


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S).close()
    except OSError:
        return False
    return True


def _established(port: int) -> int:
    """Count the server's ends of open connections to 127.0.0.1:*port*."""
    local = f"0100007F:{port:04X}"
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(1 for row in rows if row.split()[1] == local and row.split()[3] == "01")


def _wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Return whether *condition* came true; it concerns other processes, so it is polled."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_INTERVAL_S)
    return True


def _own_namespace() -> str:
    return os.readlink("/proc/self/ns/mnt")


def _namespace_of(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:  # ended meanwhile, or a zombie
        return None


def _pids_in(namespace: str) -> list[int]:
    everyone = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return sorted(pid for pid in everyone if _namespace_of(pid) == namespace)


def _kill_all(namespace: str) -> list[int]:
    """Kill what is in *namespace* and return what was."""
    pids = _pids_in(namespace)
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return pids
