"""What is changed in powertools' metrics; `metrics_state` says where they are kept instead."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.integrations.calls import is_awaited_here, request_for
from lmi_runtime.integrations.patching import Swaps
from lmi_runtime.integrations.powertools.metrics_lines import print_line
from lmi_runtime.integrations.powertools.metrics_lost import handed_over
from lmi_runtime.integrations.powertools.metrics_own import tell_of_own_state
from lmi_runtime.integrations.powertools.metrics_state import (
    Gathered,
    adopted,
    locked,
    made_here,
    take_over,
)
from lmi_runtime.integrations.scopes import is_alone

__all__ = [
    "isolate_cloudwatch",
    "isolate_datadog",
    "isolate_datadog_metrics",
    "isolate_managers",
    "isolate_metrics",
    "isolate_providers",
]

_cold_starting = _sync.ProcessWide(lambda: _sync.RLock(), anew_in_child=True)
"""Re-entrant: what a provider of the user's own does with a cold start is not known."""

_LOG_METRICS = "self, lambda_handler, capture_cold_start_metric, raise_on_empty_metrics"
_GATHERED: dict[str, Callable[[Any], Any]] = {
    "metric_set": handed_over,
    "dimension_set": copy.copy,
    "dimension_sets": copy.copy,
    "metadata_set": copy.copy,
    "default_dimensions": copy.copy,
    "default_tags": copy.copy,
    "timestamp": copy.copy,
    "namespace": copy.copy,
    "service": copy.copy,
}
_LOCKED = {
    "add_metric": "self, name",
    "add_dimension": "self, name, value",
    "add_metadata": "self, key, value",
    "clear_metrics": "self",
    "flush_metrics": "self, raise_on_empty_metrics",
    "serialize_metric_set": "self, metrics",
}
_LOCKED_DATADOG = {
    "add_metric": "self, name, value, timestamp, **tags",
    "clear_metrics": "self",
    "flush_metrics": "self, raise_on_empty_metrics",
    "serialize_metric_set": "self, metrics",
    "set_default_tags": "self, **tags",
}


def isolate_providers(module: ModuleType, swaps: Swaps) -> None:
    """All providers: those of powertools, and the user's as far as they use the same names."""
    provider = swaps.attribute(module, "BaseProvider")
    swaps.attribute(module, "cold_start")
    log_metrics = swaps.function(provider, "log_metrics", f"{_LOG_METRICS}, **kwargs")
    cold_start = swaps.function(provider, "_add_cold_start_metric", "self, context")
    _gather(swaps, provider, *_GATHERED)
    swaps.put(provider, "log_metrics", _log_metrics(log_metrics))
    swaps.put(provider, "_add_cold_start_metric", _once(cold_start))


def isolate_cloudwatch(module: ModuleType, swaps: Swaps) -> None:
    """`AmazonCloudWatchEMFProvider`, which is also `EphemeralMetrics`."""
    provider = swaps.attribute(module, "AmazonCloudWatchEMFProvider")
    init = swaps.function(
        provider,
        "__init__",
        "self, metric_set, dimension_set, namespace, metadata_set, service, default_dimensions",
    )
    swaps.put(provider, "__init__", made_here(init))
    _lock(swaps, provider, {**_LOCKED, "set_default_dimensions": "self, **dimensions"})
    if hasattr(provider, "add_dimensions"):
        _lock(swaps, provider, {"add_dimensions": "self, **dimensions"})
    swaps.put(module, "print", print_line)


def isolate_metrics(module: ModuleType, swaps: Swaps) -> None:
    """`Metrics`, whose instances share what they gather."""
    metrics = swaps.attribute(module, "Metrics")
    for shared in ("_metrics", "_dimensions", "_metadata", "_default_dimensions"):
        swaps.attribute(metrics, shared)
    init = swaps.function(metrics, "__init__", "self, service, namespace, provider")
    _gather(swaps, metrics, "metric_set", "dimension_set", "metadata_set", "default_dimensions")
    swaps.put(metrics, "__init__", _looking_at_provider(adopted(init)))


def isolate_managers(module: ModuleType, swaps: Swaps) -> None:
    """`SingleMetric`, `single_metric` and the class that they are made of."""
    manager = swaps.attribute(module, "MetricManager")
    single = swaps.attribute(module, "SingleMetric")
    init = swaps.function(
        manager, "__init__", "self, metric_set, dimension_set, namespace, metadata_set, service"
    )
    log_metrics = swaps.function(manager, "log_metrics", f"{_LOG_METRICS}, default_dimensions")
    cold_start = swaps.function(manager, "_add_cold_start_metric", "self, context")
    names = ("metric_set", "dimension_set", "metadata_set", "timestamp", "namespace", "service")
    _gather(swaps, manager, *names)
    _lock(swaps, manager, _LOCKED)
    _lock(swaps, single, {"add_metric": "self, name, unit, value, resolution"})
    swaps.put(manager, "__init__", made_here(init))
    swaps.put(manager, "log_metrics", _log_metrics(log_metrics))
    swaps.put(manager, "_add_cold_start_metric", _once(cold_start))
    swaps.put(module, "print", print_line)


def isolate_datadog(module: ModuleType, swaps: Swaps) -> None:
    """`DatadogProvider`."""
    provider = swaps.attribute(module, "DatadogProvider")
    init = swaps.function(
        provider, "__init__", "self, metric_set, namespace, flush_to_log, default_tags"
    )
    swaps.put(provider, "__init__", made_here(init))
    _lock(swaps, provider, _LOCKED_DATADOG)
    swaps.put(module, "print", print_line)


def isolate_datadog_metrics(module: ModuleType, swaps: Swaps) -> None:
    """`DatadogMetrics`, whose instances share what they gather."""
    metrics = swaps.attribute(module, "DatadogMetrics")
    for shared in ("_metrics", "_default_tags"):
        swaps.attribute(metrics, shared)
    init = swaps.function(metrics, "__init__", "self, namespace, flush_to_log, provider")
    _gather(swaps, metrics, "metric_set", "default_tags")
    swaps.put(metrics, "__init__", _looking_at_provider(adopted(init)))


def _gather(swaps: Swaps, owner: type, *names: str) -> None:
    for name in names:
        swaps.put(owner, name, Gathered(_GATHERED[name]))


def _lock(swaps: Swaps, owner: type, methods: dict[str, str]) -> None:
    for name, parameters in methods.items():
        swaps.put(owner, name, locked(swaps.function(owner, name, parameters)))


def _once(add_cold_start_metric: Callable[..., None]) -> Callable[..., None]:
    """Theirs looks whether it is the first, publishes, and then says that it was."""

    @functools.wraps(add_cold_start_metric)
    def once(self: Any, context: Any) -> None:
        with _cold_starting():
            add_cold_start_metric(self, context=context)

    return once


def _looking_at_provider(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        tell_of_own_state(self.provider)

    return __init__


# --------------------------------------------------------------------------- log_metrics


def _log_metrics(theirs: Callable[..., Any]) -> Callable[..., Any]:
    """
    Their decorator, which publishes when the handler has ended and not when it has returned.

    Theirs decorates something that does nothing but end as the handler did, so that all that it
    does afterwards is done then.
    """

    @functools.wraps(theirs)
    def log_metrics(
        self: Any, lambda_handler: Callable[..., Any] | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        if lambda_handler is None:
            return theirs(self, None, *args, **kwargs)
        tell_of_own_state(self)
        publish = theirs(self, _end, *args, **kwargs)
        return _decorated(self, lambda_handler, publish)

    return log_metrics


def _decorated(
    provider: Any, handler: Callable[..., Any], publish: Callable[..., Any]
) -> Callable[..., Any]:
    async def awaited(begin: Callable[[], Awaitable[Any]], event: Any, context: Any) -> Any:
        with request_for(context):
            try:
                result = await begin()
            except BaseException as error:
                publish(event, context, None, [error])
                raise
            return publish(event, context, result)

    if inspect.iscoroutinefunction(handler):

        @functools.wraps(handler)
        async def decorate_async(event: Any, context: Any, *args: Any, **kwargs: Any) -> Any:
            begin = functools.partial(handler, event, context, *args, **kwargs)
            return await awaited(begin, event, context)

        return decorate_async

    @functools.wraps(handler)
    def decorate(event: Any, context: Any, *args: Any, **kwargs: Any) -> Any:
        if is_awaited_here(handler):
            return awaited(
                functools.partial(handler, event, context, *args, **kwargs), event, context
            )
        with request_for(context):
            if is_alone():
                take_over(provider)
            try:
                result = handler(event, context, *args, **kwargs)
            except BaseException as error:
                publish(event, context, None, [error])
                raise
            if inspect.isawaitable(result):
                # Something lies around an `async def`, and has not run it to its end.
                return awaited(lambda: result, event, context)
            return publish(event, context, result)

    return decorate


def _end(_event: Any, _context: Any, result: Any, errors: list[BaseException] | None = None) -> Any:
    """What they take for the handler."""
    if errors is None:
        return result
    # An error that is left in a frame of its own traceback stays until it is collected, and
    # everything that the handler had with it.
    error = errors.pop()
    try:
        raise error
    finally:
        del error
