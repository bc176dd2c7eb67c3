"""
A closed-loop load generator: every caller calls again the moment it is answered.

It shares the machine with what it measures, so a caller is one `asyncio.Protocol` and a request
is one write: no task, no future, no header dictionary.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast
from urllib.parse import urlsplit

import httptools

from lmi_runtime._sync import monotonic
from lmi_runtime.emulator import answers
from lmi_runtime.emulator.histogram import LatencyHistogram

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_CONNECT_TIMEOUT_S = 5.0
CONNECTION_LOST = "ConnectionLost"
NO_ANSWER = "NoAnswer"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """
    What to send.

    Attributes:
        concurrency: Callers, each with a connection of its own.
        duration_s: Seconds to measure; None if *requests* is given.
        requests: Calls to measure; None if *duration_s* is given.
        event: Body of every call, or a function from the number of the call to its body.
        warmup_requests: Calls before the measurement starts.
        drain_s: Seconds to wait for the last answers.
        progress_every_s: Seconds between two calls of the progress callback.
    """

    concurrency: int = 1
    duration_s: float | None = None
    requests: int | None = None
    event: bytes | Callable[[int], bytes] = b"{}"
    warmup_requests: int = 0
    drain_s: float = 10.0
    progress_every_s: float = 0.5

    def __post_init__(self) -> None:
        if (self.duration_s is None) == (self.requests is None):
            raise ValueError("give either duration_s or requests")
        if self.concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {self.concurrency}")


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """
    A reading while the load runs.

    Attributes:
        elapsed_s: Seconds since the measurement started.
        share: How much of it is done, 0 to 1.
        ok: Calls that got a result.
        refused: Calls refused for lack of a waiting poll.
        failed: All other calls.
    """

    elapsed_s: float
    share: float
    ok: int
    refused: int
    failed: int


@dataclass(frozen=True, slots=True)
class LoadReport:
    """
    What came of it.

    Attributes:
        elapsed_s: Seconds measured, without the warm-up.
        requests: Calls that ended, well or not.
        ok: Calls that got a result.
        refused: Calls refused: `Runtime.Unavailable`, or status 429.
        failures: All other calls by error type.
        throughput_rps: Results per second.
        mean_ms: Mean time to a result.
        p50_ms: Half of the results came within this time; right to 1 %.
        p95_ms: The same for 95 %.
        p99_ms: The same for 99 %.
        max_ms: Longest time to a result.
    """

    elapsed_s: float
    requests: int
    ok: int
    refused: int
    failures: Mapping[str, int]
    throughput_rps: float
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float

    @property
    def failed(self) -> int:
        """Calls that neither got a result nor were refused."""
        return sum(self.failures.values())


class _Run:
    """
    The state all callers share.

    Thread safety: loop thread only.
    """

    def __init__(self, options: LoadOptions) -> None:
        self.options = options
        self.latencies = LatencyHistogram()
        self.failures: Counter[str] = Counter()
        self.ok = 0
        self.refused = 0
        self.sent = 0
        self.ended = 0
        self.started_s = monotonic()
        self.ended_s = 0.0
        self.stopping = False
        self.over = False
        self.in_flight = 0
        self.idle = asyncio.Event()
        self.warming = options.warmup_requests
        self._limit = options.requests
        self._due_s = self._due()

    def _due(self) -> float | None:
        duration_s = self.options.duration_s
        return None if duration_s is None else self.started_s + duration_s

    def may_send(self, now_s: float) -> bool:
        if self._due_s is not None:
            self.stopping |= now_s >= self._due_s and not self.warming
        elif self._limit is not None:
            self.stopping |= self.sent >= self._limit + self.options.warmup_requests
        if self.stopping and self.in_flight == 0:
            self.idle.set()
        return not self.stopping

    def next_event(self) -> bytes:
        event = self.options.event
        number = self.sent
        self.sent += 1
        self.in_flight += 1
        return event if isinstance(event, bytes) else event(number)

    def record(self, latency_s: float, status: int, error_type: str) -> None:
        self.in_flight -= 1
        if self.warming:
            self._warm()
            return
        self.ended += 1
        self.ended_s = monotonic()
        if error_type == answers.UNAVAILABLE or status == 429:
            self.refused += 1
        elif error_type or status != 200:
            self.failures[error_type or f"Http{status}"] += 1
        else:
            self.ok += 1
            self.latencies.record(latency_s)

    def _warm(self) -> None:
        self.warming -= 1
        if self.warming == 0:
            self.started_s = monotonic()
            self._due_s = self._due()

    def share(self, now_s: float) -> float:
        if self.options.duration_s:
            return min(1.0, (now_s - self.started_s) / self.options.duration_s)
        return self.ended / self._limit if self._limit else 1.0

    def progress(self) -> LoadProgress:
        now_s = monotonic()
        if self.warming:
            return LoadProgress(0.0, 0.0, 0, 0, 0)
        failed = sum(self.failures.values())
        elapsed_s = now_s - self.started_s
        return LoadProgress(elapsed_s, self.share(now_s), self.ok, self.refused, failed)

    def report(self) -> LoadReport:
        elapsed_s = max((self.ended_s or monotonic()) - self.started_s, 1e-9)
        latencies = self.latencies
        return LoadReport(
            elapsed_s=elapsed_s,
            requests=self.ended,
            ok=self.ok,
            refused=self.refused,
            failures=MappingProxyType(dict(self.failures)),
            throughput_rps=self.ok / elapsed_s,
            mean_ms=latencies.mean_s * 1000,
            p50_ms=latencies.quantile_s(0.50) * 1000,
            p95_ms=latencies.quantile_s(0.95) * 1000,
            p99_ms=latencies.quantile_s(0.99) * 1000,
            max_ms=latencies.max_s * 1000,
        )


class _Caller(asyncio.Protocol):
    """
    One caller on one keep-alive connection.

    Thread safety: loop thread only.
    """

    def __init__(self, run: _Run, head: bytes, lost: Callable[[], None]) -> None:
        self._run = run
        self._head = head
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._error_type = ""
        self._sent_s = 0.0
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods but not the base class, so nothing is asserted.
        self._transport = cast("asyncio.Transport", transport)
        self._call()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting and not self._run.over:
            self._waiting = False
            self._run.record(0.0, 0, CONNECTION_LOST)
        self._lost()

    def on_message_begin(self) -> None:
        self._error_type = ""

    def on_header(self, name: bytes, value: bytes) -> None:
        # The usual answer has no such header: two comparisons of lengths are all it costs.
        if len(name) == 10 and name.lower() == b"error-type":
            self._error_type = value.decode("latin-1")

    def on_message_complete(self) -> None:
        self._waiting = False
        status = self._parser.get_status_code()
        self._run.record(monotonic() - self._sent_s, status, self._error_type)
        if self._parser.should_keep_alive():
            self._call()
        else:
            self.close()

    def _call(self) -> None:
        assert self._transport is not None
        now_s = monotonic()
        if not self._run.may_send(now_s):
            self.close()
            return
        event = self._run.next_event()
        self._waiting = True
        self._sent_s = now_s
        self._transport.write(self._head % len(event) + event)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class _Driver:
    """
    Keeps *concurrency* callers connected until the run is over.

    Thread safety: loop thread only.
    """

    def __init__(self, url: str, run: _Run) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname not in _LOOPBACK or parts.port is None:
            raise ValueError(f"load is sent to http://127.0.0.1:port only, not to {url}")
        self._address = (parts.hostname, parts.port)
        self._run = run
        path = parts.path.replace("%", "%%") or "/"
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        ).encode()
        self._callers: set[_Caller] = set()
        self._connecting: set[asyncio.Task[None]] = set()

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        caller = _Caller(self._run, self._head, lambda: self._lost(caller))
        self._callers.add(caller)
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await loop.create_connection(lambda: caller, *self._address)
        except BaseException:
            self._callers.discard(caller)
            raise

    def _lost(self, caller: _Caller) -> None:
        self._callers.discard(caller)
        if self._run.stopping:
            return
        task = asyncio.get_running_loop().create_task(self._reconnect())
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _reconnect(self) -> None:
        try:
            await self.connect()
        except OSError:
            # The environment is gone for good: this caller ends, and with the last one the run.
            if not self._callers:
                self._run.stopping = True
                self._run.idle.set()

    def close(self) -> None:
        for task in self._connecting:
            task.cancel()
        for caller in list(self._callers):
            caller.close()


async def run_load(
    url: str, options: LoadOptions, progress: Callable[[LoadProgress], None] | None = None
) -> LoadReport:
    """
    Call *url* in a closed loop and measure.

    Args:
        url: Invoke URL on loopback, of any emulator.
        options: How hard, how long, and what to send.
        progress: Called now and then, on the loop, and once at the end.

    Raises:
        ValueError: *url* is not on loopback.
        OSError: The first connections failed.

    Thread safety: one event loop.
    """
    run = _Run(options)
    driver = _Driver(url, run)
    try:
        await asyncio.gather(*(driver.connect() for _ in range(options.concurrency)))
        await _watch(run, progress)
    finally:
        run.stopping = run.over = True
        driver.close()
        # One turn, so that the connections are closed before the caller's loop is.
        await asyncio.sleep(0)
    if run.in_flight:
        run.failures[NO_ANSWER] += run.in_flight
        run.ended += run.in_flight
    if progress is not None:
        progress(run.progress())
    return run.report()


async def _watch(run: _Run, progress: Callable[[LoadProgress], None] | None) -> None:
    give_up_s: float | None = None
    while not run.idle.is_set():
        run.may_send(monotonic())
        if run.stopping and give_up_s is None:
            give_up_s = monotonic() + run.options.drain_s
        if give_up_s is not None and monotonic() >= give_up_s:
            return
        if progress is not None:
            progress(run.progress())
        try:
            async with asyncio.timeout(run.options.progress_every_s):
                await run.idle.wait()
        except TimeoutError:
            continue
