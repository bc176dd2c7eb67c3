"""
One boto3 client for each service in a worker, whoever asks, from whichever thread.

Making a client reads megabytes of service descriptions and is not safe in several threads at once;
using one is. So each is made once, by one thread at a time, and shared.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from typing import Any

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]

from lmi_runtime import _sync, context
from lmi_runtime.errors import PoolTimeout
from lmi_runtime.pools import Budget, Permit, registry
from lmi_runtime.pools.inherited import leave_to_parent

__all__ = ["client"]

_LEAST_CONNECTIONS = 10  # what botocore keeps by default, and what its file transfers use
_TIMEOUT_S = 30.0


def client(
    service: str,
    *,
    region: str | None = None,
    config: Config | None = None,
    budget: Budget | None = None,
    **options: Any,
) -> Any:
    """
    This worker's client of an AWS service: the same object for the same arguments.

    It keeps a connection for each invocation that this worker serves at once, and at least ten,
    so that none is discarded after one use. `config` has the last word on that, and on
    everything else; TCP keep-alive is on unless it says otherwise.

    Args:
        service: As boto3 names it, such as ``dynamodb``.
        region: As boto3's `region_name`.
        config: Compared by identity: pass the same object for the same client.
        budget: A `ConnectionBudget`. The client takes a permit for each connection that it may
            keep, and keeps the permits until it is closed. It cannot tell how many it has open,
            so this is its share, not a count; and there is no least of ten then. Beyond its
            share, requests open connections for one use.
        options: More of what boto3's `Session.client` takes, hashable.

    Raises:
        PoolTimeout: The budget has not so many permits free, for 30 seconds or until the current
            request's deadline.
        botocore.exceptions.BotoCoreError: There is no such service, or its region is unknown.

    Thread safety: from any thread; so is the client. A forked child makes clients of its own.
    """
    key = (service, region, config, budget, *sorted(options.items()))
    made = _clients.get(key)
    if made is None:
        merged = _config(config, budget)
        permits = _reserve(budget, merged.max_pool_connections)
        made = _make(
            key,
            permits,
            lambda session: session.client(service, region_name=region, config=merged, **options),
        )
    return made.client


def _config(config: Config | None, budget: Budget | None) -> Config:
    slots = context.worker().slots
    kept = slots if budget is not None else max(_LEAST_CONNECTIONS, slots)
    ours = Config(max_pool_connections=kept, tcp_keepalive=True)
    return ours if config is None else ours.merge(config)


def _reserve(budget: Budget | None, count: int) -> list[Permit]:
    if budget is None:
        return []
    give_up_at_s = min(_sync.monotonic() + _TIMEOUT_S, context.deadline_s())
    permits: list[Permit] = []
    while len(permits) < count:
        permit = budget.acquire(lambda: _sync.monotonic() >= give_up_at_s)
        if permit is None:
            _give_back(permits)
            raise PoolTimeout(f"The budget has no {count} connections left for an AWS client.")
        permits.append(permit)
    return permits


def _give_back(permits: list[Permit]) -> None:
    for permit in permits:
        permit.release()


def _make(key: Hashable, permits: list[Permit], make: Callable[[Any], Any]) -> _Client:
    global _session
    try:
        with _lock:
            made = _clients.get(key)
            if made is None:
                _session = _session or boto3.session.Session()
                made = _clients[key] = _Client(key, make(_session), permits)
                registry.register(made, hold=True)
    except BaseException:
        _give_back(permits)
        raise
    if made.permits is not permits:  # another thread was first
        _give_back(permits)
    return made


class _Client:
    """Thread safety: constant; closed once, when the process stops."""

    home = None

    def __init__(self, key: Hashable, client: Any, permits: list[Permit]) -> None:
        self.client = client
        self.permits = permits
        self.name = f"client of {client.meta.service_model.service_name}"
        self._key = key

    def close_now(self, budget_s: float) -> None:
        """Let go of its connections and permits; who asks again gets a new one."""
        _clients.pop(self._key, None)
        self.client.close()
        _give_back(self.permits)


_lock = _sync.Lock()
_session: Any = None  # guarded by _lock
_clients: dict[Hashable, _Client] = {}
"""Written under _lock, except for single operations that take something out."""


def _begin_anew() -> None:
    # The parent's connections stay the parent's. Whoever held the lock is not here.
    global _lock, _session, _clients
    leave_to_parent((_session, _clients))
    _lock, _session, _clients = _sync.Lock(), None, {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
