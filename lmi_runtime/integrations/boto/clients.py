"""
One boto3 client for each service in a worker, whoever asks, from whichever thread.

Making a client reads megabytes of service descriptions, and a session makes one at a time; using
a client is safe for all at once. So each is made once, and shared.

All are made of one session, one after the other: it is the parsing of descriptions that takes the
time, which threads would not share between them, and what sessions read they keep, each for itself.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator
from contextlib import closing
from typing import Any

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]

from lmi_runtime import _sync, context
from lmi_runtime.errors import PoolTimeout
from lmi_runtime.integrations.boto.deadlines import bounded
from lmi_runtime.integrations.boto.keys import config_key, options_key
from lmi_runtime.integrations.boto.sessions import LEAST_CONNECTIONS, turn
from lmi_runtime.pools import Budget, Permit, Resource

__all__ = ["aclient", "client"]

logger = logging.getLogger("lmi_runtime.integrations")

_TIMEOUT_S = 30.0
_SLOW_S = 0.05


def client(
    service: str,
    *,
    region: str | None = None,
    config: Config | None = None,
    session: boto3.session.Session | None = None,
    budget: Budget | None = None,
    **options: Any,
) -> Any:
    """
    This worker's client of an AWS service: the same object for equal arguments.

    It keeps a connection for each invocation that this worker serves at once, and at least ten,
    so that none is discarded after one use. `config` has the last word on that, and on
    everything else; TCP keep-alive is on unless it says otherwise. Its calls end with the deadline
    of the request that makes them; see `bounded`. It is closed when the worker stops.

    In an event loop this blocks until the client is made, the first time: await `aclient` there,
    or call it where the function is imported.

    There is no such thing for boto3's resources, because they are not made for several threads.
    Use clients, or make a resource of your own for each request.

    Args:
        service: As boto3 names it, such as ``dynamodb``.
        region: As boto3's `region_name`.
        config: Compared by value.
        session: Makes the client; for another profile or role than the function's own. Every
            session that comes here stays: give it few, not one for each request. By default, one
            session makes all; it is not boto3's default session.
        budget: A `ConnectionBudget`. The client takes a permit for each connection that it may
            keep, and keeps the permits until it is closed. It cannot tell how many it has open,
            so this is its share, not a count; and there is no least of ten then. Beyond its
            share, requests open connections for one use.
        options: More of what boto3's `Session.client` takes, hashable.

    Raises:
        LoadTimeout: It was not made before the current request's deadline. The making goes on,
            for whoever asks next.
        PoolClosed: The worker stops.
        PoolTimeout: The budget had not so many permits free for 30 seconds.
        botocore.exceptions.BotoCoreError: There is no such service, or its region is unknown.

    Thread safety: from any thread, and one of them makes it; so is the client. A forked child
    makes clients of its own.
    """
    return _maker(service, region, config, session, budget, options)()


async def aclient(
    service: str,
    *,
    region: str | None = None,
    config: Config | None = None,
    session: boto3.session.Session | None = None,
    budget: Budget | None = None,
    **options: Any,
) -> Any:
    """The same as `client`, and the same object; the event loop goes on while it is made."""
    return await _maker(service, region, config, session, budget, options).aget()


def _maker(
    service: str,
    region: str | None,
    config: Config | None,
    session: Any,
    budget: Budget | None,
    options: dict[str, Any],
) -> _Maker:
    key = (service, region, config_key(config), session, budget, options_key(options))
    makers = _makers()
    maker = makers.get(key)
    if maker is not None:
        return maker
    merged = _config(config, budget)

    def make() -> Iterator[Any]:
        permits = _reserve(budget, merged.max_pool_connections)
        try:
            chosen = session or _session()
            with turn(chosen._session):
                made = chosen.client(service, region_name=region, config=merged, **options)
            with closing(made):
                yield bounded(made)
        finally:
            _give_back(permits)

    make.__qualname__ = f"boto.client({service!r})"
    return makers.setdefault(key, _Maker(make))


class _Maker(Resource[Any]):
    """A client that is made when it is first asked for."""

    def _tell_if_slow(self, took_s: float) -> None:
        if took_s > _SLOW_S:
            logger.warning(
                "%s blocked the event loop for %.0f ms; `await boto.aclient(...)` would not.",
                self._once.name,
                took_s * 1000,
            )


def _config(config: Config | None, budget: Budget | None) -> Config:
    facts = context.worker()
    # A budget is shared out by slots; without one nothing is saved by keeping fewer than needed.
    kept = facts.slots if budget is not None else max(LEAST_CONNECTIONS, facts.slots + facts.spare)
    ours = Config(max_pool_connections=kept, tcp_keepalive=True)
    return ours if config is None else ours.merge(config)


def _reserve(budget: Budget | None, count: int) -> list[Permit]:
    if budget is None:
        return []
    give_up_at_s = _sync.monotonic() + _TIMEOUT_S
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


# Neither is begun anew in a child: a resource sees to that, and a session has no connections.
_session = _sync.ProcessWide(boto3.session.Session)
_makers = _sync.ProcessWide[dict[Hashable, _Maker]](dict)
"""Of each key; added in one atomic step, and never taken out."""
