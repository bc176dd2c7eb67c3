"""The threads of S3 transfers, which work for the request that started the transfer."""

from __future__ import annotations

from types import ModuleType

from lmi_runtime.context import ContextThreadPoolExecutor
from lmi_runtime.integrations.patching import Swaps

__all__ = ["carry_requests"]


def carry_requests(module: ModuleType, swaps: Swaps) -> None:
    """Have what a transfer does in its threads done in the context that it was started in."""
    executor = swaps.attribute(module, "BoundedExecutor")
    swaps.function(executor, "__init__", "self, max_size, max_num_threads, executor_cls")
    swaps.attribute(executor, "EXECUTOR_CLS")
    swaps.put(executor, "EXECUTOR_CLS", ContextThreadPoolExecutor)
