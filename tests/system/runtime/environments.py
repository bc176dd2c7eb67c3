"""The runtime as real processes, in our environment and in AWS's own, behind one face."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

import psutil

from lmi_runtime.emulator import (
    Clock,
    Emulator,
    EmulatorOptions,
    Fault,
    LocalEnvironment,
    LogLine,
)
from tests.support.patience import PATIENCE_S
from tests.support.repository import REPOSITORY
from tests.support.rie import INVOKE_PATH, Reply, Rie

FUNCTIONS = Path(__file__).parent / "functions"
POLL_S = 0.005
_TIMEOUT_S = 4 * PATIENCE_S
RUNTIME = ("-m", "lmi_runtime")
Record = dict[str, Any]


class Runtime:
    """
    One execution environment with the runtime in it.

    Thread safety: `call` and what reads, from any thread. The rest: one thread.
    """

    kind: str
    _address: str

    def call(
        self,
        event: object = None,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> Reply:
        """Call the function once and wait for its answer."""
        sent = json.dumps(event).encode() if body is None else body
        named = {"X-Amzn-RequestId": request_id or str(uuid.uuid4()), **(headers or {})}
        connection = http.client.HTTPConnection(self._address, timeout=PATIENCE_S)
        try:
            connection.request("POST", INVOKE_PATH, sent, named)
            answer = connection.getresponse()
            fields = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, fields, answer.read())
        finally:
            connection.close()

    def call_soon(self, event: object = None, request_id: str | None = None) -> Future[Reply]:
        """Call from a thread of its own."""
        reply: Future[Reply] = Future()

        def work() -> None:
            try:
                reply.set_result(self.call(event, request_id=request_id))
            except BaseException as error:
                reply.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        return reply

    def call_until_served(self, event: object = None) -> Reply:
        """
        Call until a worker takes it.

        A dead worker's polls are lost to the platform, each of them with the event it is given,
        and until its replacement polls there may be nobody at all.
        """
        give_up_s = time.monotonic() + PATIENCE_S
        while True:
            reply = self.call(event)
            if reply.error_type not in ("Runtime.Unavailable", "Runtime.Unknown"):
                return reply
            assert time.monotonic() < give_up_s, f"still {reply.error_type}"
            time.sleep(POLL_S)

    @property
    def url(self) -> str:
        """Where to POST an event."""
        return f"http://{self._address}{INVOKE_PATH}"

    # ---- logs

    def lines(self) -> tuple[str, ...]:
        """Everything logged so far."""
        raise NotImplementedError

    def wait_for_text(self, wanted: Callable[[str], bool]) -> str:
        """Wait for a line of the log."""
        raise NotImplementedError

    def records(self, **fields: object) -> list[Record]:
        """The JSON lines so far that have these fields."""
        found = (record_of(line) for line in self.lines())
        return [record for record in found if record and fields.items() <= record.items()]

    def wait_for(
        self, wanted: Callable[[Record], bool] = lambda _: True, **fields: object
    ) -> Record:
        """Wait for a JSON line that has these fields, and for which *wanted* is true."""

        def matches(line: str) -> bool:
            record = record_of(line)
            return bool(record) and fields.items() <= record.items() and wanted(record)

        return record_of(self.wait_for_text(matches))

    # ---- life

    def let_time_out(self) -> None:
        """Let the time pass after which callers of what runs now are not kept waiting."""
        raise NotImplementedError

    def pids(self) -> list[int]:
        """The runtime's processes, the supervisor first."""
        raise NotImplementedError

    def wait_ready(self, polls: int) -> None:
        """Wait until so many polls wait."""
        raise NotImplementedError

    def stop(self) -> int | None:
        """Shut down as the platform does; the runtime's exit code where it can be seen."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop, and check that nothing is left."""
        raise NotImplementedError

    def check(self, *, forgiven: Sequence[str] = ()) -> None:
        """Fail if the runtime has broken a rule of the Runtime API. Only ours can tell."""


def record_of(line: str) -> Record:
    """The object on a line of the log; empty when it is not JSON."""
    if not line.startswith("{"):
        return {}
    record: Record = json.loads(line)
    return record


class Embedded(Runtime):
    """
    Our environment, strict, on a loop in a thread of its own.

    It is far more patient than the platform, so that a machine which stands still decides nothing;
    what time brings, a test brings about: `call_in_a_hurry`, `let_time_out`.
    """

    kind = "embedded"

    def __init__(
        self,
        handler: str,
        *,
        slots: int | None = 2,
        vcpus: int = 1,
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = RUNTIME,
        folder: Path = FUNCTIONS,
        telemetry: bool = False,
        deadline_bug: bool = False,
    ) -> None:
        self._options = EmulatorOptions(
            handler=handler,
            timeout_s=_TIMEOUT_S,
            shutdown_grace_s=PATIENCE_S,
            max_concurrency=slots or 1,
            memory_mb=32768,
            rie_deadline_bug=deadline_bug,
        )
        self._command = [sys.executable, *command, handler]
        self._folder = folder
        self._telemetry = telemetry
        self._env = {
            "PYTHONPATH": str(REPOSITORY),
            "LMI_SHUTDOWN_S": "9",
            **_variables(vcpus),
            **(env or {}),
        }
        if slots is None:
            self._env["AWS_LAMBDA_MAX_CONCURRENCY"] = ""
        self._changed = threading.Condition()
        self._lines: list[LogLine] = []  # guarded by _changed
        self._forgiven: set[str] = set()
        self._skipped_s = 0.0  # the emulator's loop only
        self._hurry_s = 0.0  # the emulator's loop only
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.environment = self._on_loop(self._start())
        self._address = self.emulator.endpoint_url.removeprefix("http://")
        self._session = self.environment.pid
        return self

    async def _start(self) -> LocalEnvironment:
        clock = Clock(
            monotonic_s=lambda: time.monotonic() + self._skipped_s,
            epoch_ms=lambda: int((time.time() - self._hurry_s) * 1000),
        )
        environment = LocalEnvironment(
            self._command,
            emulator=Emulator(self._options, clock=clock),
            env=self._env,
            cwd=self._folder,
            telemetry=self._telemetry,
            on_line=self._hear,
        )
        return await environment.__aenter__()

    @property
    def emulator(self) -> Any:
        """The emulator itself; call it through `on_loop` only."""
        return self.environment.emulator

    def on_loop(self, call: Callable[[], Any]) -> Any:
        """What `call()` returns on the emulator's loop."""

        async def run() -> Any:
            return call()

        return self._on_loop(run())

    def call_in_a_hurry(self, event: object, *, request_id: str, deadline_s: float = 1.5) -> Reply:
        """Call with a deadline so soon, although the caller waits for longer."""
        self.on_loop(lambda: setattr(self, "_hurry_s", _TIMEOUT_S - deadline_s))
        try:
            return self.call(event, request_id=request_id)
        finally:
            self.on_loop(lambda: setattr(self, "_hurry_s", 0.0))

    def let_time_out(self) -> None:
        def skip() -> None:
            self._skipped_s += _TIMEOUT_S
            self.emulator.expire()

        self.on_loop(skip)

    def script(self, call: Any, fault: Fault, **options: Any) -> None:
        """Let something go wrong; see `FaultScript.add`."""
        self.on_loop(lambda: self.emulator.faults.add(call, fault, **options))

    def statistics(self) -> Any:
        """One reading of the emulator."""
        return self.on_loop(self.emulator.statistics)

    def wait_until(self, condition: Callable[[Any], bool]) -> None:
        """Wait until *condition* holds for a reading of the emulator."""
        self._on_loop(asyncio.wait_for(self.emulator.wait_until(condition), PATIENCE_S))

    def wait_ready(self, polls: int) -> None:
        self.wait_until(lambda now: now.phase != "INIT" and now.waiting >= polls)

    def wait_exited(self) -> int:
        """The runtime's exit code, once it has ended by itself."""
        code: int = self._on_loop(asyncio.wait_for(self.environment.wait_exited(), PATIENCE_S))
        return code

    def lines(self) -> tuple[str, ...]:
        return tuple(line.text for line in self.sourced())

    def sourced(self) -> tuple[LogLine, ...]:
        """Lines with the stream they came by."""
        with self._changed:
            return tuple(self._lines)

    def wait_for_text(self, wanted: Callable[[str], bool]) -> str:
        give_up_s = time.monotonic() + PATIENCE_S
        seen = 0
        with self._changed:
            while True:
                for line in self._lines[seen:]:
                    if wanted(line.text):
                        return line.text
                seen = len(self._lines)
                if not self._changed.wait(max(0.0, give_up_s - time.monotonic())):
                    told = "\n".join(line.text for line in self._lines[-40:])
                    raise TimeoutError(f"no such line in:\n{told}")

    def pids(self) -> list[int]:
        return _oldest_first(pid for pid in psutil.pids() if _session_of(pid) == self._session)

    def stop(self) -> int | None:
        self._on_loop(self.environment.stop())
        return self.environment.returncode

    def close(self) -> None:
        try:
            self.stop()
            give_up_s = time.monotonic() + PATIENCE_S
            while left := [pid for pid in self.pids() if _alive(pid)]:
                assert time.monotonic() < give_up_s, f"processes are left: {left}"
                time.sleep(POLL_S)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE_S)
            self._loop.close()

    def check(self, *, forgiven: Sequence[str] = ()) -> None:
        self._forgiven |= set(forgiven)
        violations = self.on_loop(lambda: self.emulator.violations)
        assert [str(one) for one in violations if one.rule not in self._forgiven] == []

    def _hear(self, line: LogLine) -> None:
        with self._changed:
            self._lines.append(line)
            self._changed.notify_all()

    def _on_loop(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(2 * PATIENCE_S)


class Aws(Runtime):
    """AWS's own emulator."""

    kind = "aws"

    def __init__(
        self,
        handler: str,
        *,
        slots: int | None = 2,
        vcpus: int = 1,
        timeout_s: int = 120,
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = RUNTIME,
        folder: Path = FUNCTIONS,
    ) -> None:
        self._slots = slots
        self._rie = Rie(
            folder,
            [*command, handler],
            max_concurrency=slots,
            timeout_s=timeout_s,
            env={**_variables(vcpus), **(env or {})},
        )

    def __enter__(self) -> Self:
        self._rie.__enter__()
        self._address = self._rie.invoke_api
        return self

    def call(self, event: object = None, **how: Any) -> Reply:
        # Open connections are all that can be seen of polls, and one may be read a moment later.
        give_up_s = time.monotonic() + PATIENCE_S
        while True:
            reply = super().call(event, **how)
            if reply.error_type != "Runtime.Unavailable" or time.monotonic() > give_up_s:
                return reply
            time.sleep(POLL_S)

    def wait_ready(self, polls: int) -> None:
        # And one more for the extension that wants to hear of the shutdown.
        extension = 0 if self._slots is None else 1
        self._rie.wait_for_connections(polls + extension, timeout_s=PATIENCE_S)

    def lines(self) -> tuple[str, ...]:
        return self._rie.logs

    def wait_for_text(self, wanted: Callable[[str], bool]) -> str:
        return self._rie.wait_for_log(wanted, timeout_s=PATIENCE_S)

    def pids(self) -> list[int]:
        return _oldest_first(self._rie.pids())

    def stop(self) -> int | None:
        self._rie.shutdown()
        # Leaving waits for the last line of the log.
        self._rie.__exit__(None, None, None)
        return None

    def let_time_out(self) -> None:
        """Time passes here by itself."""

    def close(self) -> None:
        self._rie.__exit__(None, None, None)


def _oldest_first(pids: Iterable[int]) -> list[int]:
    """Numbers start again from the bottom now and then; the clock does not."""
    started: dict[int, float] = {}
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            started[pid] = psutil.Process(pid).create_time()
    # Two forks may fall into one tick of that clock, but the supervisor is older by an import.
    return sorted(started, key=lambda pid: started[pid])


def _variables(vcpus: int) -> dict[str, str]:
    # As the service sets it for functions that log JSON.
    return {"AWS_LAMBDA_LOG_LEVEL": "INFO", "LMI_VCPUS": str(vcpus)}


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
