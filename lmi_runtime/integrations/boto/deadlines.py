"""
Calls of botocore's clients that end with the request that makes them.

botocore's time limits are a client's, and a client is everybody's. So each attempt gets limits of
its own: never longer than the request has left. None is begun, and none waited for, after that.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from urllib3 import Timeout

from lmi_runtime import _sync, context
from lmi_runtime.errors import DeadlineExceeded

__all__ = ["bounded", "bounded_by", "late"]

logger = logging.getLogger("lmi_runtime.integrations")

T = TypeVar("T")

_LEAST_S = 0.001  # urllib3 refuses 0
_lock = _sync.ProcessWide(lambda: _sync.Lock(), anew_in_child=True)

_until_s: ContextVar[float] = ContextVar("lmi_runtime.integrations.boto.until_s", default=math.inf)
"""
When the call that this code is a part of has to end.

The request may end before: its deadline is nobody's then, and a call that nobody waits for any
more would go on to its retries as if it had all the time there is.
"""


def bounded(client: T) -> T:
    """
    Have the calls of a boto3 client end with the deadline of the request that makes them.

    Every client of `lmi_runtime.integrations.boto.client` does so already; this is for clients
    made elsewhere, for instance of a session with a role of its own. The client is changed and
    returned; doing it again changes nothing. Outside requests its own limits hold, as before.

    In a request, connecting to an address, and waiting for an answer or for more of it, takes no
    longer than the request has left when the attempt begins; no attempt begins after the deadline,
    and none that would have to be waited for until then. A call that is late raises
    `DeadlineExceeded`; one that gives up its retries raises what the last attempt came to.

    Not bounded: looking up a host name; a server that sends a little now and then; bodies that
    are read after the call, which wait for as long as the call might have; the pauses of waiters,
    and those that adaptive retries make before a call; threads of AWS's common runtime (awscrt).

    Thread safety: from any thread, also while others use the client.
    """
    with _lock():
        try:
            _bound(client)
        except AttributeError as error:
            logger.warning(
                "Calls of %s may outlast their requests' deadlines: botocore is not what it was "
                "(%s).",
                type(client).__name__,
                error,
            )
    return client


@contextmanager
def bounded_by(deadline_s: float) -> Iterator[None]:
    """
    Have the calls of bounded clients in the block end then, or earlier.

    Args:
        deadline_s: In seconds of the monotonic clock; infinite for no limit.
    """
    token = _until_s.set(min(deadline_s, _until_s.get()))
    try:
        yield
    finally:
        _until_s.reset(token)


def late(what: str) -> DeadlineExceeded:
    """What is raised for a call that has not been answered in time."""
    return DeadlineExceeded(f"The request's deadline came before {what} was answered.")


def _bound(client: Any) -> None:
    endpoint = client._endpoint
    emitter = endpoint._event_emitter
    if isinstance(emitter, _Events):
        return
    make_request = endpoint.make_request
    session = endpoint.http_session
    managers = [session._manager, *session._proxy_managers.values()]
    # One dict for all pools of the session, also for those that are still to be made.
    classes = session._pool_classes_by_scheme
    classes.update({scheme: _bounded_pool(each) for scheme, each in classes.items()})
    for manager in managers:
        for key in manager.pools.keys():  # noqa: SIM118 - iterating over it is not safe in threads
            pool = manager.pools.get(key)
            if pool is not None:
                pool.__class__ = _bounded_pool(pool.__class__)
    endpoint.make_request = _bounded_calls(make_request)
    endpoint._event_emitter = _Events(emitter)


def _bounded_calls(make_request: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(make_request)
    def make(*args: Any, **kwargs: Any) -> Any:
        with bounded_by(context.deadline_s()):
            return make_request(*args, **kwargs)

    return make


class _Events:
    """
    A client's events as its endpoint emits them, with a word on when to stop.

    Thread safety: as the emitter's.
    """

    def __init__(self, emitter: Any) -> None:
        self._emitter = emitter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._emitter, name)

    def emit(self, event_name: str, **kwargs: Any) -> Any:
        left_s = _left_s()
        if math.isinf(left_s):
            return self._emitter.emit(event_name, **kwargs)
        kind, _, operation = event_name.partition(".")
        if left_s <= 0 and kind == "before-send":
            raise late(operation)
        if kind == "needs-retry":
            return self._whether_again(event_name, left_s, kwargs)
        return self._emitter.emit(event_name, **kwargs)

    def _whether_again(self, event_name: str, left_s: float, kwargs: dict[str, Any]) -> Any:
        caught = kwargs.get("caught_exception")
        if left_s <= 0 and caught is not None:
            if isinstance(caught, DeadlineExceeded):
                raise caught
            raise late(event_name.partition(".")[2]) from caught
        answers = self._emitter.emit(event_name, **kwargs)
        # botocore sleeps for the first answer there is, and takes no answer for a no.
        pause_s = next((answer for _, answer in answers if answer is not None), None)
        return [] if pause_s is not None and pause_s >= left_s else answers


def _left_s() -> float:
    return _until_s.get() - _sync.monotonic()


@functools.cache
def _bounded_pool(kind: Any) -> Any:
    """A class of connection pools like `kind`, whose requests take no longer than they may."""
    if issubclass(kind, _BoundedPool):
        return kind
    return type(f"Bounded{kind.__name__}", (_BoundedPool, kind), {})


class _BoundedPool:
    """Thread safety: as the pool's."""

    timeout: Any
    conn_kw: dict[str, Any]
    ConnectionCls: Any

    def urlopen(self, *args: Any, **kwargs: Any) -> Any:
        left_s = _left_s()
        if not math.isinf(left_s):
            kwargs["timeout"] = _within(left_s, kwargs.get("timeout", self.timeout))
        return super().urlopen(*args, **kwargs)  # type: ignore[misc]

    def _new_conn(self) -> Any:
        usual = self.ConnectionCls.default_socket_options
        options = self.conn_kw.get("socket_options", usual)
        if not isinstance(options, _UntilDeadline):
            self.conn_kw["socket_options"] = _UntilDeadline(options or ())
        return super()._new_conn()  # type: ignore[misc]


def _within(left_s: float, timeout: Any) -> Timeout:
    left_s = max(left_s, _LEAST_S)
    if not isinstance(timeout, Timeout):
        timeout = Timeout.from_float(timeout)
    return Timeout(total=left_s, connect=timeout.connect_timeout, read=timeout.read_timeout)


class _UntilDeadline(tuple[Any, ...]):
    """
    Options for sockets, which urllib3 goes through before it connects to an address.

    A host may have many addresses, and each may take as long as the first. When time is up they
    are refused one by one, so that connecting takes no longer than one does.
    """

    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        if _left_s() <= 0:
            raise TimeoutError("The request's deadline came before a connection.")
        return super().__iter__()
