"""
Transports for the clients of httpx and httpx2.

    client = httpx.Client(transport=transport(max_size=8))
    client = httpx.AsyncClient(transport=async_transport(max_size=8, budget=budget))
    client = httpx2.AsyncClient(transport=async_transport(client=httpx2.AsyncClient))

Connections are those of httpcore, the requests and responses those of httpx. Which request gets
which connection is decided by our `Pool`, one for each origin: httpcore's own pool has no queue
that a cancelled request could leave a gap in. HTTP/1.1; one request a connection at a time.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from lmi_runtime import _sync, context
from lmi_runtime.errors import PoolClosed, PoolTimeout
from lmi_runtime.pools.model import Connector, PoolStatistics
from lmi_runtime.pools.policy import PoolOptions
from lmi_runtime.pools.pool import Pool

__all__ = ["async_transport", "transport"]

_OF_POOL = {option.name for option in fields(PoolOptions)} | {"budget", "housekeeping"}
_OF_TLS = {"verify", "cert", "trust_env"}
_OF_CONNECTION = {"local_address", "proxy", "retries", "socket_options", "uds"}
_MAX_IDLE_S = 5.0
_LEAST_TIMEOUT_S = 0.001
_MANY_ORIGINS = 64
_CORES = {"httpx": "httpcore", "httpx2": "httpcore2"}


def transport(*, client: type[Any] | None = None, **options: Any) -> Any:
    """
    A `transport` for `httpx.Client` or `httpx2.Client`, for threads.

    Args:
        client: The client class that will use it, where that is not httpx's.
        options: `max_size` (for each origin), `timeout_s`, `budget`, and whatever else `Pool`
            takes; `max_idle_s` is 5 seconds unless said otherwise. `verify`, `cert`, `trust_env`
            and `proxy` (http or https) as httpx takes them; `retries`, `uds`, `local_address` and
            `socket_options` as httpcore does.

    Returns:
        A transport. Its requests raise what httpx's own raises, with ``PoolTimeout`` for a
        connection that did not come free in time, and time out no later than the current request
        of the function ends. A response that is streamed keeps its connection until it is closed.

    Thread safety: from any thread; it is made anew in a forked child.
    """
    return _make("", client, options)


def async_transport(*, client: type[Any] | None = None, **options: Any) -> Any:
    """
    A `transport` for `httpx.AsyncClient` or `httpx2.AsyncClient`, for tasks.

    Like `transport`, in asyncio, uvloop and trio. Each event loop has connections of its own; one
    transport serves several loops.

    Thread safety: from any loop.
    """
    return _make("Async", client, options)


def _make(kind: str, client: type[Any] | None, options: dict[str, Any]) -> Any:
    library = _Library("httpx" if client is None else client.__module__.partition(".")[0])
    of_pool = {name: options.pop(name) for name in _OF_POOL & options.keys()}
    of_pool.setdefault("max_idle_s", _MAX_IDLE_S)
    factory = library.factory(kind, options)
    base = getattr(library.http, f"{kind}BaseTransport")
    mixins = (_AsyncTransport if kind else _Transport, base)
    made = type(f"{kind}Transport", mixins, {"__module__": __name__})
    return made(library, factory, of_pool)


class _Library:
    """
    One of the two libraries, and what differs between them: names.

    Thread safety: constant.
    """

    def __init__(self, name: str) -> None:
        self.http: Any = importlib.import_module(name)
        self.core: Any = importlib.import_module(_CORES[name])
        self.body = type("Body", (_Body, self.http.SyncByteStream), {})
        self.async_body = type("AsyncBody", (_AsyncBody, self.http.AsyncByteStream), {})

    def factory(self, kind: str, options: dict[str, Any]) -> Any:
        """What makes connections to an origin: one of httpcore's pools, not used as a pool."""
        of_tls = {name: options.pop(name) for name in _OF_TLS & options.keys()}
        if unknown := options.keys() - _OF_CONNECTION:
            raise TypeError(f"Not an option of a transport: {', '.join(sorted(unknown))}.")
        tls = self.http.create_ssl_context(**of_tls)
        proxy = options.pop("proxy", None)
        if proxy is not None:
            options["proxy"] = self._proxy(proxy)
        return getattr(self.core, f"{kind}ConnectionPool")(
            ssl_context=tls, keepalive_expiry=None, **options
        )

    def _proxy(self, proxy: Any) -> Any:
        if not isinstance(proxy, self.http.Proxy):
            proxy = self.http.Proxy(url=proxy)
        if proxy.url.scheme not in ("http", "https"):
            raise ValueError(f"A proxy at {proxy.url.scheme!r} is not supported here.")
        return self.core.Proxy(
            url=str(proxy.url),
            auth=proxy.raw_auth,
            headers=proxy.headers.raw,
            ssl_context=proxy.ssl_context,
        )

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Let httpcore's errors leave as httpx's of the same name."""
        try:
            yield
        except PoolTimeout as error:
            raise self.http.PoolTimeout(str(error)) from error
        except Exception as error:
            for kind in type(error).__mro__:
                known = getattr(self.http, kind.__name__, None)
                if known is not None and kind.__module__ == self.core.__name__:
                    raise known(str(error)) from error
            raise

    def request(self, request: Any, timeouts: dict[str, float | None]) -> Any:
        """A request as httpcore takes it."""
        url = request.url
        return self.core.Request(
            method=request.method,
            url=self.core.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions={**request.extensions, "timeout": timeouts},
        )

    def response(self, response: Any, body: Any) -> Any:
        """A response as httpx gives it."""
        return self.http.Response(
            status_code=response.status,
            headers=response.headers,
            stream=body,
            extensions=response.extensions,
        )


def _timeouts(given: dict[str, float | None]) -> dict[str, float | None]:
    left_s = context.deadline_s() - _sync.monotonic()
    if left_s == math.inf:
        return given
    left_s = max(_LEAST_TIMEOUT_S, left_s)
    asked = {name: given.get(name) for name in ("connect", "read", "write", "pool")}
    return {name: left_s if s is None else min(s, left_s) for name, s in asked.items()}


class _Line:
    """
    One of httpcore's connections. It connects with its first request.

    Thread safety: belongs to whoever has it on lease.
    """

    __slots__ = ("connection", "used")

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.used = False

    def usable(self) -> bool:
        """Whether the next request can have it: its last one is over, or was never sent."""
        return not self.used or (self.connection.is_idle() and not self.connection.is_closed())

    def stale(self) -> bool:
        """Whether the server has hung up meanwhile."""
        return self.used and self.connection.has_expired()


class _Common:
    """
    A transport with a pool for each origin.

    Thread safety: from any thread, or any loop.
    """

    asynchronous = False

    def __init__(self, library: _Library, factory: Any, options: dict[str, Any]) -> None:
        self._library = library
        self._factory = factory
        self._options = options
        self._lock = _sync.Lock()
        self._pools: dict[Any, Pool[_Line]] = {}  # guarded by _lock
        self._closed = False  # guarded by _lock

    def statistics(self) -> dict[str, PoolStatistics]:
        """What each origin's pool has done, and how it is."""
        with self._lock:
            pools = list(self._pools.values())
        return {pool.name: pool.statistics() for pool in pools}

    def _pool(self, origin: Any) -> Pool[_Line]:
        with self._lock:
            if self._closed:
                raise PoolClosed("The transport has been closed.")
            pool = self._pools.get(str(origin))
            if pool is None:
                self._forget_unused_locked()
                pool = self._pools[str(origin)] = Pool(
                    self._connector(origin), name=str(origin), **self._options
                )
            return pool

    def _forget_unused_locked(self) -> None:
        if len(self._pools) < _MANY_ORIGINS:
            return
        for origin, pool in list(self._pools.items()):
            now = pool.statistics()
            if not (now.open or now.opening or now.waiting):
                del self._pools[origin]

    def _connector(self, origin: Any) -> Connector[_Line]:
        return Connector(
            open=self._opener(origin),
            close=self._close_line,
            usable=_Line.usable,
            asynchronous=self.asynchronous,
        )

    def _opener(self, origin: Any) -> Any:
        return lambda: _Line(self._factory.create_connection(origin))

    def _close_line(self, line: _Line) -> Any:
        return line.connection.close()

    def _start_closing(self) -> list[Pool[_Line]]:
        with self._lock:
            self._closed = True
            return list(self._pools.values())


class _Transport(_Common):
    def handle_request(self, request: Any) -> Any:
        """
        Send a request and return its response, as httpx asks for it.

        Raises:
            httpx.TransportError: As from httpx's own transport.
            PoolOverloaded, PoolClosed: There is no connection for this request.
        """
        timeouts = _timeouts(request.extensions.get("timeout", {}))
        sent = self._library.request(request, timeouts)
        with self._library.translated():
            lease, line = self._borrow(self._pool(sent.url.origin), timeouts.get("pool"))
            try:
                response = line.connection.handle_request(sent)
            except BaseException:
                lease.discard()
                lease.release()
                raise
        body = self._library.body(self._library, response.stream, lease)
        return self._library.response(response, body)

    def close(self) -> None:
        """Close all connections, and take no more requests."""
        for pool in self._start_closing():
            pool.close()

    def _borrow(self, pool: Pool[_Line], timeout_s: float | None) -> Any:
        while True:
            lease = pool.lease(timeout_s=timeout_s)
            line = lease.acquire()
            if not line.stale():
                line.used = True
                return lease, line
            lease.discard()
            lease.release()


class _Kept:
    """What is left of a response to read; it keeps the connection until it is closed."""

    def __init__(self, library: _Library, stream: Any, lease: Any) -> None:
        self._library = library
        self._stream = stream
        self._lease = lease


class _Body(_Kept):
    def __iter__(self) -> Iterator[bytes]:
        with self._library.translated():
            yield from self._stream

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._lease.release()


class _AsyncTransport(_Common):
    asynchronous = True

    async def handle_async_request(self, request: Any) -> Any:
        """
        Send a request and return its response, as httpx asks for it.

        Raises:
            httpx.TransportError: As from httpx's own transport.
            PoolOverloaded, PoolClosed: There is no connection for this request.
        """
        timeouts = _timeouts(request.extensions.get("timeout", {}))
        sent = self._library.request(request, timeouts)
        with self._library.translated():
            lease, line = await self._borrow(self._pool(sent.url.origin), timeouts.get("pool"))
            try:
                response = await line.connection.handle_async_request(sent)
            except BaseException:
                lease.discard()
                await lease.arelease()
                raise
        body = self._library.async_body(self._library, response.stream, lease)
        return self._library.response(response, body)

    async def aclose(self) -> None:
        """Close all connections, and take no more requests."""
        for pool in self._start_closing():
            await pool.aclose()

    def _opener(self, origin: Any) -> Any:
        async def open_line() -> _Line:
            return _Line(self._factory.create_connection(origin))

        return open_line

    async def _close_line(self, line: _Line) -> None:
        await line.connection.aclose()

    async def _borrow(self, pool: Pool[_Line], timeout_s: float | None) -> Any:
        while True:
            lease = pool.lease(timeout_s=timeout_s)
            line = await lease.aacquire()
            if not line.stale():
                line.used = True
                return lease, line
            lease.discard()
            await lease.arelease()


class _AsyncBody(_Kept):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._library.translated():
            async for part in self._stream:
                yield part

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            await self._lease.arelease()
