"""Whose part of a cache the calling code uses."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Literal, TypeAlias

from lmi_runtime.caches.flights import inside
from lmi_runtime.context import peek

__all__ = ["Partition", "chooser", "current_tenant"]

Partition: TypeAlias = Literal["tenant"] | Callable[[], Hashable] | None
"""What tells partitions apart: the current request's tenant, or what a function returns."""


def current_tenant() -> str | None:
    """
    The tenant of the request that the calling code serves, or of the load that it is part of.

    A load runs outside any request; what it asks other caches for is still its tenant's.
    """
    request = peek()
    if request is not None:
        return request.tenant_id
    flight = inside()
    return None if flight is None else flight.tenant


def chooser(partition: Partition) -> Callable[[], Hashable] | None:
    """
    The function that says whose part is used; None: there are no parts.

    Raises:
        TypeError: It is neither ``"tenant"`` nor a function.
    """
    if partition is None:
        return None
    if partition == "tenant":
        return current_tenant
    if not callable(partition):
        raise TypeError(f"partition must be 'tenant' or a function, not {partition!r}")
    return partition
