"""
Functions that are changed wherever they have been imported to.

``from library import function`` gives a name of its own to the function, which a change of the
library's module does not reach. So what is exchanged here is the code inside of the function.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any

from lmi_runtime.integrations.patching import Swaps, Unexpected

__all__ = ["reroute", "rerouted"]


def rerouted(*args: Any, **kwargs: Any) -> Any:
    """Stands for the new function, in those whose code is given to `reroute`."""
    raise TypeError("only for code that reroute() has moved")


def reroute(
    swaps: Swaps,
    function: Callable[..., Any],
    like: Callable[..., Any],
    to: Callable[..., Any],
) -> None:
    """
    Have all calls of `function` go to ``to(original, *args)``.

    Args:
        swaps: What the change consists of.
        function: A plain function of another package.
        like: One with the same parameters that only calls `rerouted`; its code is used.
        to: Called with the function as it was, and with what `like` passes on.

    Raises:
        Unexpected: `function` is not plain.
    """
    if not isinstance(function, FunctionType) or function.__closure__:
        raise Unexpected(f"{function!r} is no plain function")
    original = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__
    )
    original.__kwdefaults__ = function.__kwdefaults__
    name = f"_lmi_runtime_{function.__name__}"
    code = like.__code__
    names = tuple(name if each == rerouted.__name__ else each for each in code.co_names)
    swaps.put(sys.modules[function.__module__], name, partial(to, original))
    swaps.put(function, "__code__", code.replace(co_names=names, co_name=function.__name__))
