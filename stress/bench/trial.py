"""One trial: start a runtime under AWS's emulator, wait for its slots, load it, read it."""

from __future__ import annotations

import asyncio
import http.client
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmi_runtime.emulator import LoadOptions, LoadReport, run_load
from stress.bench.contenders import FUNCTIONS_DIR, Contender
from stress.bench.processes import age_s, cpu_s, read_memory
from tests.support.rie import INVOKE_PATH, Rie
from tests.support.rie_binary import REPOSITORY

__all__ = ["Trial", "TrialOptions", "compile_runtime", "run_trial", "wait_all_slots"]

_HOLD = b'{"hold_ms": 50}'
# Sixty-four imports of a heavy function, on a machine that does other things too.
_START_TIMEOUT_S = 300.0
_UNAVAILABLE = "Runtime.Unavailable"
# Two vCPUs, as many as 4 GiB or more buy; AWS's client does not look at either.
_ENVIRONMENT = {
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "8192",
    "LMI_VCPUS": "2",
    # The platform always gives a function credentials; without any, boto3 looks for a metadata
    # service on the network.
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_SESSION_TOKEN": "none",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialOptions:
    """
    How a trial is made.

    Attributes:
        python: Interpreter of the runtimes.
        load_s: Seconds of load that are measured.
        warmup_s: Seconds of load before that.
        busy_s: Seconds of load after that, with calls that hold their slots for 50 ms.
    """

    python: str
    load_s: float
    warmup_s: float
    busy_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """
    What was read.

    Attributes:
        contender: Name of the runtime.
        function: Name of the function.
        slots: N, the slots of the environment and the number of callers.
        processes: Processes of the runtime.
        rss_mb: Their resident memory after the load.
        pss_mb: The same, a shared page split among those who share it.
        anonymous_mb: The part of `pss_mb` that no file backs.
        polling_s: Seconds from the start of the process until N calls at once are all accepted.
        requests_per_s: Results a second in a closed loop of N callers.
        p50_ms: Half of the results came within this time, refused attempts left out.
        p99_ms: The same for 99 %.
        mean_ms: Mean time to a result as a caller sees it, its refused attempts included.
        refused_share: Refused attempts among all attempts, 0 to 1.
        busy_refused_share: The same when each call holds its slot for 50 ms.
        busy_p99_ms: 99 % of the results came within this time when each call holds its slot for
            50 ms; there the runtime waits for calls, not the calls for a processor.
        failed: Attempts that neither got a result nor were refused.
        cpu_ms: CPU milliseconds, user and system, that the runtime's processes used a result.
    """

    contender: str
    function: str
    slots: int
    processes: int
    rss_mb: float
    pss_mb: float
    anonymous_mb: float
    polling_s: float
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    mean_ms: float
    refused_share: float
    busy_refused_share: float
    busy_p99_ms: float
    failed: int
    cpu_ms: float


def run_trial(contender: Contender, function: str, slots: int, options: TrialOptions) -> Trial:
    """
    Measure *contender* serving *function* with *slots* slots and as many callers.

    Raises:
        RuntimeError: It did not start, or gave no result under load; carries what it printed.
        RieUnavailable: AWS's emulator cannot run here.
    """
    with Rie(
        FUNCTIONS_DIR,
        contender.command(function),
        max_concurrency=slots,
        timeout_s=int(_START_TIMEOUT_S),
        env={**_ENVIRONMENT, **contender.env},
        python=options.python,
    ) as rie:
        polling_s = wait_all_slots(rie, slots)
        _load(rie, slots, options.warmup_s)
        # A runtime may start and end processes, so each reading looks for them anew.
        before_s = cpu_s(rie.pids())
        report = _load(rie, slots, options.load_s)
        used_s = cpu_s(rie.pids()) - before_s
        memory = read_memory(rie.pids())
        busy = _load(rie, slots, options.busy_s, _HOLD)
        if not report.ok:
            printed = "\n".join(rie.logs[-20:])
            raise RuntimeError(f"{contender.name}: no result; {dict(report.failures)}\n{printed}")
    mib = 1024 * 1024
    return Trial(
        contender=contender.name,
        function=function,
        slots=slots,
        processes=memory.processes,
        rss_mb=memory.rss_bytes / mib,
        pss_mb=memory.pss_bytes / mib,
        anonymous_mb=memory.anonymous_bytes / mib,
        polling_s=polling_s,
        requests_per_s=report.throughput_rps,
        p50_ms=report.p50_ms,
        p99_ms=report.p99_ms,
        mean_ms=slots / report.throughput_rps * 1000,
        refused_share=report.refused / report.requests,
        busy_refused_share=busy.refused / max(busy.requests, 1),
        busy_p99_ms=busy.p99_ms,
        failed=report.failed + busy.failed,
        cpu_ms=used_s / report.ok * 1000,
    )


def wait_all_slots(rie: Rie, slots: int) -> float:
    """
    Wait until *slots* calls made at once are all accepted.

    Returns:
        The age of the runtime's first process, in seconds, when those calls were sent.

    Raises:
        RuntimeError: It has not come to that in time.
    """
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        # No poll without a connection, so there is no need to disturb the start by calling yet.
        rie.wait_for_connections(slots, timeout_s=_START_TIMEOUT_S)
        sent_s = age_s(rie.pids())
        if _all_accepted(rie, slots):
            return sent_s
        time.sleep(0.005)
    printed = "\n".join(rie.logs[-20:])
    raise RuntimeError(f"{slots} slots never polled at the same time; it printed:\n{printed}")


def _all_accepted(rie: Rie, slots: int) -> bool:
    """Call *slots* times at once. Each call holds its slot until long after the last was sent."""
    callers = [http.client.HTTPConnection(rie.invoke_api, timeout=10.0) for _ in range(slots)]
    try:
        for caller in callers:
            caller.connect()
        for caller in callers:
            caller.request("POST", INVOKE_PATH, _HOLD)
        # All of them are read, so that no call is left behind in a slot.
        errors = [_error_type(caller) for caller in callers]
    finally:
        for caller in callers:
            caller.close()
    unexpected = set(errors) - {None, _UNAVAILABLE}
    if unexpected:
        raise RuntimeError(f"calls failed with {unexpected}: " + "\n".join(rie.logs[-20:]))
    return _UNAVAILABLE not in errors


def _error_type(caller: http.client.HTTPConnection) -> str | None:
    answer = caller.getresponse()
    answer.read()
    return answer.getheader("Error-Type")


def _load(rie: Rie, slots: int, duration_s: float, event: bytes = b"{}") -> LoadReport:
    options = LoadOptions(concurrency=slots, duration_s=duration_s, event=event)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(run_load(f"http://{rie.invoke_api}{INVOKE_PATH}", options))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """The driver shares the machine with what it measures, so it uses the cheapest loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def compile_runtime(python: str) -> None:
    """
    Write the package's byte code for *python*.

    Under the emulator it runs as a user who cannot, and would compile at each start.
    """
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    package = Path(REPOSITORY, "lmi_runtime")
    subprocess.run([python, "-m", "compileall", "-q", str(package)], check=True, env=env)
