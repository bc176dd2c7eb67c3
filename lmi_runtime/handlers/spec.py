"""What is known of a handler before it first runs: how it is called and what it asked for."""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, get_args

from lmi_runtime._facts import Facts
from lmi_runtime.errors import ConfigurationError, HandlerSignatureError
from lmi_runtime.model import EntryKind

if TYPE_CHECKING:
    import inspect

    from lmi_runtime.handlers.codec import Codec

__all__ = [
    "DEFAULT_DEADLINE_MARGIN_S",
    "Concurrency",
    "Deadline",
    "HandlerSpec",
    "Style",
    "describe",
    "spec_of",
]

Concurrency = Literal["async", "threads", "process"]
Deadline = Literal["cancel", "report"]

DEFAULT_DEADLINE_MARGIN_S = 0.1
"""Seconds kept back before the deadline: enough to unwind a task and post its error on a loop
that is busy, and a tenth of the shortest time-out a function can have."""


class Style(enum.Enum):
    """What calling the handler gives."""

    COROUTINE = "async def"
    FUNCTION = "def"
    ASYNC_STREAM = "async generator"
    STREAM = "generator"

    @property
    def is_async(self) -> bool:
        """Whether it runs on the event loop."""
        return self in (Style.COROUTINE, Style.ASYNC_STREAM)


class HandlerSpec(Facts, apart=("adapter",)):
    """
    A handler and everything it asked for; never changes.

    Attributes:
        function: What the user wrote.
        style: What calling it gives.
        takes_context: Called as ``(event, context)``; otherwise as ``(event)``.
        concurrency: How invocations may share a process: ``async`` as tasks, ``threads`` as
            threads, ``process`` not at all.
        max_per_vcpu: Invocations at once for each vCPU, or None for no limit of its own.
        deadline: ``cancel`` it at the deadline minus the margin, or only ``report``.
        deadline_margin_s: Seconds kept back before the deadline.
        own_codec: What decodes its events and encodes its results, where it asked for another.
        adapter: The plain callable that ``@handler`` made of it, or None when undecorated.
    """

    function: Callable[..., Any]
    style: Style
    takes_context: bool
    concurrency: Concurrency
    max_per_vcpu: int | None = None
    deadline: Deadline = "cancel"
    deadline_margin_s: float = DEFAULT_DEADLINE_MARGIN_S
    own_codec: Codec | None = None
    adapter: Callable[..., Any] | None = None

    @property
    def kind(self) -> EntryKind:
        """Where its code runs in this package's runtime."""
        return EntryKind.TASK if self.style.is_async else EntryKind.THREAD

    @property
    def codec(self) -> Codec:
        """Decodes its events and encodes its results."""
        # Not at the start: other runtimes have a codec of their own.
        from lmi_runtime.handlers.codec import codec_for

        return self.own_codec or codec_for(None)


def spec_of(function: Callable[..., Any]) -> HandlerSpec | None:
    """
    Return the spec that ``@handler`` left on `function`, or None when it is undecorated.

    Raises:
        ConfigurationError: Another decorator sits on top of ``@handler``. Running the spec
            would skip it without a word.
    """
    spec = getattr(function, "__lmi_handler__", None)
    if not isinstance(spec, HandlerSpec):
        return None
    if spec.adapter is not function:
        raise ConfigurationError(
            f"{_name(function)} has another decorator on top of @handler, which would be skipped. "
            "Move @handler to the top."
        )
    return spec


def describe(
    function: Callable[..., Any],
    *,
    max_per_vcpu: int | None = None,
    concurrency: Concurrency | None = None,
    deadline: Deadline = "cancel",
    deadline_margin_s: float = DEFAULT_DEADLINE_MARGIN_S,
    serializer: object = None,
    adapter: Callable[..., Any] | None = None,
) -> HandlerSpec:
    """
    Look at `function` once and check what was asked for it.

    Raises:
        HandlerSignatureError: It cannot be called as a handler.
        ConfigurationError: An option makes no sense; the text names it.
    """
    style = _style(function, runs_itself=concurrency == "threads")
    return HandlerSpec(
        function=function,
        style=style,
        takes_context=_takes_context(function),
        concurrency=_concurrency(concurrency, style, function),
        max_per_vcpu=_limit(max_per_vcpu),
        deadline=_deadline(deadline),
        deadline_margin_s=_margin(deadline_margin_s),
        own_codec=_codec(serializer),
        adapter=adapter,
    )


def _style(function: Callable[..., Any], *, runs_itself: bool) -> Style:
    import inspect

    if not callable(function):
        raise HandlerSignatureError(f"A handler is callable; {function!r} is not.")
    candidates = [_code(function)]
    if not runs_itself:
        # A decorator in between may hide an `async def` behind a plain `def` that returns the
        # coroutine (powertools' decorators do), so what is inside counts as well. Others run it to
        # its end by `asyncio.run`: nothing but what was asked for tells which.
        candidates.append(_code(inspect.unwrap(function)))
    for candidate in candidates:
        if inspect.iscoroutinefunction(candidate):
            return Style.COROUTINE
        if inspect.isasyncgenfunction(candidate):
            return Style.ASYNC_STREAM
        if inspect.isgeneratorfunction(candidate):
            return Style.STREAM
    return Style.FUNCTION


def _code(function: Callable[..., Any]) -> Callable[..., Any]:
    """What runs when `function` is called: itself, or the `__call__` of its class."""
    import inspect

    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    return type(function).__call__


def _takes_context(function: Callable[..., Any]) -> bool:
    signatures = _signatures(function)
    for signature in signatures:
        first = next(iter(signature.parameters), "")
        if first in ("self", "cls"):
            raise HandlerSignatureError(
                f"{_name(function)} is a method without its object. Decorate the bound method: "
                "`handle = handler(App().handle)`."
            )
    for takes_context, arguments in ((True, (None, None)), (False, (None,))):
        if all(_accepts(signature, arguments) for signature in signatures):
            return takes_context
    # What is outside is what gets called, whatever it does with its arguments.
    for takes_context, arguments in ((True, (None, None)), (False, (None,))):
        if _accepts(signatures[0], arguments):
            return takes_context
    raise HandlerSignatureError(
        f"{_name(function)}{signatures[0]} cannot be a handler: it has to take (event, context) "
        "or (event) by position, and nothing else without a default."
    )


def _signatures(function: Callable[..., Any]) -> list[inspect.Signature]:
    """The signature that is called and the one inside every decorator, outermost first."""
    import inspect

    try:
        outer = inspect.signature(function, follow_wrapped=False)
        inner = inspect.signature(function)
    except (ValueError, TypeError):
        # Compiled code that does not say. awslambdaric would pass two arguments and see.
        return [inspect.signature(_as_awslambdaric_calls)]
    return [outer, inner]


def _as_awslambdaric_calls(event: object, context: object) -> None: ...


def _accepts(signature: inspect.Signature, arguments: tuple[None, ...]) -> bool:
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _concurrency(
    asked: Concurrency | None, style: Style, function: Callable[..., Any]
) -> Concurrency:
    if asked is None:
        # A plain function has not said that it is thread-safe: nothing shares its process.
        return "async" if style.is_async else "process"
    if asked not in get_args(Concurrency):
        known = ", ".join(repr(name) for name in get_args(Concurrency))
        raise ConfigurationError(f"concurrency={asked!r} is not one of {known}.")
    if asked == "async" and not style.is_async:
        raise ConfigurationError(
            f"concurrency='async' needs an `async def`; {_name(function)} is a {style.value} and "
            "would block every other invocation. Use 'threads' if it is thread-safe."
        )
    if asked == "threads" and style.is_async:
        raise ConfigurationError(
            f"concurrency='threads' needs a plain `def`; {_name(function)} is an {style.value}, "
            "which runs as tasks: use 'async', or 'process' to run one at a time."
        )
    return asked


def _limit(asked: object) -> int | None:
    if asked is None:
        return None
    if isinstance(asked, bool) or not isinstance(asked, int) or asked < 1:
        raise ConfigurationError(f"max_per_vcpu={asked!r} is not a whole number of at least 1.")
    return asked


def _deadline(asked: Deadline) -> Deadline:
    if asked not in get_args(Deadline):
        raise ConfigurationError(f"deadline={asked!r} is neither 'cancel' nor 'report'.")
    return asked


def _margin(asked: object) -> float:
    if not _is_number(asked) or not 0 <= asked < math.inf:
        raise ConfigurationError(
            f"deadline_margin_s={asked!r} is not a number of seconds of at least 0."
        )
    return float(asked)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _codec(serializer: object) -> Codec | None:
    if serializer is None:
        return None
    from lmi_runtime.handlers.codec import codec_for

    return codec_for(serializer)


def _name(function: Callable[..., Any]) -> str:
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return str(name)
