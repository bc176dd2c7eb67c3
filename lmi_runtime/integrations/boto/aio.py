"""
aiobotocore's clients: one for each service in a worker, opened once and closed when it stops.

    from lmi_runtime.integrations.boto import aio

    sqs = await aio.client("sqs", region="eu-central-1")
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Hashable
from contextlib import AsyncExitStack
from typing import Any

import anyio
from aiobotocore.config import AioConfig  # type: ignore[import-untyped]
from aiobotocore.session import AioSession, get_session  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]

from lmi_runtime import _sync, context
from lmi_runtime.integrations.boto.deadlines import late
from lmi_runtime.integrations.boto.keys import config_key, options_key
from lmi_runtime.integrations.boto.sessions import LEAST_CONNECTIONS
from lmi_runtime.pools import AsyncResource, resource

__all__ = ["client"]


async def client(
    service: str,
    *,
    region: str | None = None,
    config: Config | None = None,
    session: AioSession | None = None,
    **options: Any,
) -> Any:
    """
    This worker's aiobotocore client of an AWS service: the same object for equal arguments.

    It belongs to the event loop that it was made on, as its connections do. It has at least ten
    of them, and one for each invocation that this worker serves at once, unless `config` says how
    many. Its calls end with the deadline of the request that makes them, their retries included;
    reading a streamed body afterwards does not.

    Args:
        service: As boto3 names it, such as ``dynamodb``.
        region: As boto3's `region_name`.
        config: An `AioConfig`, or a `Config`. Compared by value.
        session: Makes the client; for another profile or role than the function's own. Every
            session that comes here stays. By default, one session for each loop makes all.
        options: More of what aiobotocore's `create_client` takes, hashable.

    Raises:
        LoadTimeout: It was not made before the current request's deadline. The making goes on.
        PoolClosed: The worker stops.
        botocore.exceptions.BotoCoreError: There is no such service, or its region is unknown.

    Thread safety: in tasks of any event loop; each has a client of its own.
    """
    key = (service, region, config_key(config), session, options_key(options))
    makers = _makers()
    maker = makers.get(key)
    if maker is None:
        maker = makers.setdefault(key, _maker(service, region, _config(config), session, options))
    return await maker()


def _config(config: Config | None) -> Config:
    facts = context.worker()
    ours = AioConfig(max_pool_connections=max(LEAST_CONNECTIONS, facts.slots + facts.spare))
    return ours if config is None else ours.merge(config)


def _maker(
    service: str,
    region: str | None,
    config: Config,
    session: AioSession | None,
    options: dict[str, Any],
) -> AsyncResource[Any]:
    async def make() -> AsyncIterator[Any]:
        ours, turn = await _loops_own()
        async with AsyncExitStack() as stack:
            async with turn:  # sessions make parts of theirs when they are first needed
                made = await stack.enter_async_context(
                    (session or ours).create_client(
                        service, region_name=region, config=config, **options
                    )
                )
            yield _bounded(made)

    make.__qualname__ = f"aio.client({service!r})"
    return resource(make)


@resource
async def _loops_own() -> tuple[AioSession, anyio.Lock]:
    return get_session(), anyio.Lock()


def _bounded(client: Any) -> Any:
    """Have each call of it end with the deadline of the request that makes it."""

    async def within_deadline(operation_name: str, api_params: Any) -> Any:
        # Looked up for each call: others wrap it, and may do so later than this.
        make_api_call = type(client)._make_api_call
        left_s = context.deadline_s() - _sync.monotonic()
        if left_s > 0:
            with anyio.move_on_after(None if math.isinf(left_s) else left_s):
                return await make_api_call(client, operation_name, api_params)
        raise late(f"{client.meta.service_model.service_id.hyphenize()}.{operation_name}")

    client._make_api_call = within_deadline
    return client


_makers = _sync.ProcessWide[dict[Hashable, AsyncResource[Any]]](dict)
"""Of each key; added in one atomic step, and never taken out."""
