"""
Parameters without blocking an event loop.

    from aws_lambda_powertools.utilities.parameters import get_parameter
    from lmi_runtime.integrations.powertools.parameters import off_loop

    async def handler(event, context):
        url = await off_loop(get_parameter, "/shop/url", max_age=300)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from lmi_runtime.integrations.calls import in_thread

__all__ = ["blocks", "must_be_cached", "off_loop"]

T = TypeVar("T")

_PACKAGE: Final = "aws_lambda_powertools.utilities.parameters"
_FLAGS: Final = "aws_lambda_powertools.utilities.feature_flags"


class _Missing(BaseException):
    """It is not in the cache; nothing has been done. Not an `Exception`: nobody may catch it."""


must_be_cached: ContextVar[bool] = ContextVar("lmi_parameters_cached_only", default=False)

_READING: Final = frozenset(
    {
        "get",
        "get_app_config",
        "get_multiple",
        "get_parameter",
        "get_parameters",
        "get_parameters_by_name",
        "get_secret",
        "get_secrets_by_name",
    }
)


_EVALUATING: Final = frozenset({"evaluate", "get_enabled_features"})


async def off_loop(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """
    Call a function that gets parameters, without blocking the event loop.

    A value that is in powertools' cache is returned at once. For any other the function is called
    in a thread, which serves the same request; as many callers as ask at once share one fetch.

    Args:
        function: ``get_parameter``, ``get_secret`` and their like, the methods of providers by
            the same names, ``FeatureFlags.evaluate`` and ``get_enabled_features`` with a store in
            AppConfig, or another function that blocks; such a one always gets a thread.
        args: What it takes.
        kwargs: What it takes by name.

    Returns:
        What the function returns.

    Raises:
        GetParameterError: As the function does; so are all its other errors.

    Thread safety: from any task. A cancelled caller takes nothing from the others.
    """
    if _only_reads(function):
        token = must_be_cached.set(True)
        try:
            return function(*args, **kwargs)
        except _Missing:
            pass
        finally:
            must_be_cached.reset(token)
    return await in_thread(function, *args, **kwargs)


def _only_reads(function: Callable[..., Any]) -> bool:
    """Whether it tells, and does nothing else, when a value is not in the cache."""
    base = sys.modules.get(f"{_PACKAGE}.base")
    if base is None or not hasattr(base.BaseProvider.get, "tells_what_is_missing"):
        return False
    name, module = getattr(function, "__name__", ""), str(getattr(function, "__module__", ""))
    owner = getattr(function, "__self__", None)
    if name in _READING and module.startswith(f"{_PACKAGE}."):
        return isinstance(owner, base.BaseProvider | None)
    if name in _EVALUATING and module.startswith(f"{_FLAGS}."):
        store = getattr(owner, "store", None)
        return isinstance(getattr(store, "_conf_store", None), base.BaseProvider)
    return False


def blocks() -> None:
    """To be called before anything that is slow."""
    if must_be_cached.get():
        raise _Missing
