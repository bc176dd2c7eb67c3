"""A handler under the stress harness: the one place that knows the runtime and the harness."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from lmi_runtime import _sync
from lmi_runtime.context import Request, enter
from lmi_runtime.errors import ConfigurationError, UnsupportedMode
from lmi_runtime.handlers import HandlerSpec, HttpHead, Style, load
from lmi_runtime.integrations.safety import arm
from lmi_runtime.model import Invocation, backend_from, is_made_safe
from lmi_runtime.stress.control import controlled
from lmi_runtime.stress.exploring import GranularityName, adjusted, granularities_of, report_of
from lmi_runtime.stress.model import Report
from lmi_runtime.stress.program import RunOptions
from lmi_runtime.stress.search import Progress, SearchSettings
from lmi_runtime.stress.subject import (
    ORACLES,
    Delivery,
    Mode,
    Stage,
    Subject,
    search_handler,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["StressOptions", "stress_handler"]

_TIMEOUT_S = 900.0
_ARN = "arn:aws:lambda:us-east-1:123456789012:function:function"


@dataclass(frozen=True, slots=True)
class StressOptions:
    """
    How a handler is explored.

    Attributes:
        concurrency: Invocations at once; what is found is shown with as few as possible.
        mode: How they share a process; by default as tasks for ``async def``, else as threads.
            ``process``: they share none, so only files can come between them.
        budget_s: Real seconds. With ``math.inf`` only `schedules` ends it, and the answer is the
            same on a slow machine as on a fast one.
        schedules: Runs.
        preemptions: Every schedule with at most so many is tried, as far as the budget goes.
        granularity: Where threads may be preempted; see `explore`.
        backend: Which event loop runs ``async def``; by default what ``LMI_BACKEND`` says, as
            it does in Lambda.
        include: Packages to watch besides the user's own code.
        seed: The same seed makes the same runs.
        cancel: Async invocations are also cancelled wherever they wait.
        mark: How events get tokens of their own: ``auto``, ``off``, or a function from an event
            and a token to an event.
        invariant: Of the handler's module when all have ended: False or an exception is a
            failure.
        ignore: Names of oracles that are turned off.
        examples: Directory in which failures are kept and tried first the next time.
    """

    concurrency: int = 2
    mode: Mode | None = None
    budget_s: float = 25.0
    schedules: int = 2000
    preemptions: int = 2
    granularity: GranularityName = "default"
    backend: Literal["asyncio", "trio"] | None = None
    include: tuple[str, ...] = ()
    seed: int = 0
    cancel: bool = True
    mark: Literal["auto", "off"] | Callable[[Any, str], Any] = "auto"
    invariant: Callable[[ModuleType], Any] | None = None
    ignore: frozenset[str] = frozenset()
    examples: Path | None = None


def stress_handler(
    reference: str,
    events: Sequence[Any] | SearchStrategy[Any],
    options: StressOptions | None = None,
    *,
    task_root: Path | None = None,
    replay: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """
    Look for a race, a leak or a deadlock between invocations of a handler.

    Args:
        reference: ``module.function``, as `lmi run` takes it.
        events: JSON-like events that take turns, or a strategy that draws one.
        options: How; the defaults turn everything on.
        task_root: Directory of the handler's code; by default the current one.
        replay: A token from an earlier report: only that schedule is run.
        progress: Called after every run.

    Raises:
        ConfigurationError: The handler cannot be imported or called, an event is no JSON, or an
            option makes no sense.
        TokenError: `replay` is no token, or of another version.

    Thread safety: one exploration at a time in a process.
    """
    options = options or StressOptions()
    _check(options)
    checked = events if replay is not None else _checked(events)
    settings = _settings(options, replay, progress)
    root = os.fspath(task_root) if task_root is not None else os.getcwd()
    module = reference.rpartition(".")[0].replace("/", ".")
    if is_made_safe(os.environ):
        arm()  # as the runtime does
    with controlled(), Stage.set_up(module or reference, root) as stage:
        spec = _described(reference, root, stage)
        subject = _subject(reference, root, module, spec, options)
        settings = dataclasses.replace(
            settings,
            options=dataclasses.replace(
                settings.options, cancels=subject.is_async and subject.judges("deadline")
            ),
        )
        answer = search_handler(subject, stage, checked, settings, concurrency=options.concurrency)
        # Reports name locks and read source lines: before the modules are gone.
        return report_of(
            answer.result, settings, subject=reference, mode=subject.mode, notes=answer.notes
        )


def _described(reference: str, root: str, stage: Stage) -> HandlerSpec:
    """The handler's spec, from an import as each run makes one."""
    try:
        try:
            stage.fresh()
        except BaseException:
            return load(reference, root).spec  # says it in words
        return load(reference, root).spec
    finally:
        stage.world.restore()


def _subject(
    reference: str, root: str, module: str, spec: HandlerSpec, options: StressOptions
) -> Subject:
    mode = _mode(options.mode, spec)
    return Subject(
        name=reference,
        module=module,
        mode=mode,
        adapt=_Adapter(reference, root),
        cancel=options.cancel,
        mark=options.mark,
        invariant=options.invariant,
        ignore=options.ignore | (frozenset() if options.cancel else {"deadline"}),
    )


def _mode(asked: Mode | None, spec: HandlerSpec) -> Mode:
    if asked is None:
        return "async" if spec.style.is_async else "threads"
    if asked == "async" and not spec.style.is_async:
        raise UnsupportedMode("Mode 'async' needs an `async def` handler; use 'threads'.")
    if asked == "threads" and spec.style.is_async:
        raise UnsupportedMode("Mode 'threads' needs a plain `def` handler; use 'async'.")
    return asked


# ------------------------------------------------------------------ one invocation


class _Adapter:
    """
    Makes what serves a delivery, as the runtime would: from bytes to bytes, in its own context.

    Thread safety: the thread that explores.
    """

    def __init__(self, reference: str, root: str) -> None:
        self._reference = reference
        self._root = root
        self._last: tuple[ModuleType, HandlerSpec] | None = None

    def __call__(self, module: ModuleType, delivery: Delivery) -> Callable[[], Any]:
        spec = self._spec_in(module)
        body = json.dumps(delivery.event).encode()
        return (_served_async if spec.style.is_async else _served)(spec, delivery, body)

    def _spec_in(self, module: ModuleType) -> HandlerSpec:
        if self._last is None or self._last[0] is not module:
            loaded = sys.modules.get(module.__name__)
            sys.modules[module.__name__] = module  # of several copies, this one
            try:
                self._last = module, load(self._reference, self._root).spec
            finally:
                if loaded is not None:
                    sys.modules[module.__name__] = loaded
        return self._last[1]


def _served(spec: HandlerSpec, delivery: Delivery, body: bytes) -> Callable[[], Any]:
    def serve() -> Any:
        request = Request(_invocation(delivery, body))
        enter(request)
        try:
            result = _call(spec, request, body)
            if spec.style is Style.STREAM and isinstance(result, Iterator):
                return [_copied(spec, item) for item in result]
            return _copied(spec, result)
        finally:
            request.end()

    return serve


def _served_async(spec: HandlerSpec, delivery: Delivery, body: bytes) -> Callable[[], Any]:
    async def serve() -> Any:
        request = Request(_invocation(delivery, body))
        enter(request)
        try:
            result = _call(spec, request, body)
            if hasattr(result, "__await__"):
                result = await result
            if isinstance(result, AsyncIterator):
                return [_copied(spec, item) async for item in result]
            return _copied(spec, result)
        finally:
            request.end()

    return serve


def _call(spec: HandlerSpec, request: Request, body: bytes) -> Any:
    event = spec.codec.decode(body, "application/json")
    arguments = (event, request.lambda_context) if spec.takes_context else (event,)
    return spec.function(*arguments)


def _copied(spec: HandlerSpec, result: Any) -> Any:
    """What the caller gets, taken at once: the handler may go on changing the object."""
    if isinstance(result, (str, bytes, HttpHead)) or result is None:
        return result
    encoded, _ = spec.codec.encode(result)
    try:
        return json.loads(encoded)
    except ValueError:
        return encoded


def _invocation(delivery: Delivery, body: bytes) -> Invocation:
    return Invocation(
        request_id=delivery.tokens.request_id,
        invocation_id=delivery.tokens.request_id,
        body=body,
        function_arn=_ARN,
        deadline_ms=int((_sync.wall_time() + _TIMEOUT_S) * 1000),
        deadline_s=_sync.monotonic() + _TIMEOUT_S,
        trace_id=delivery.tokens.trace_id,
        tenant_id=delivery.tenant_id,
    )


# ------------------------------------------------------------------ what was asked for


def _check(options: StressOptions) -> None:
    if options.concurrency < 1:
        raise ConfigurationError(f"concurrency={options.concurrency} is less than 1.")
    unknown = sorted(options.ignore - ORACLES)
    if unknown:
        known = ", ".join(sorted(ORACLES))
        raise ConfigurationError(f"There is no oracle {unknown[0]!r}; there are: {known}.")


def _checked(
    events: Sequence[Any] | SearchStrategy[Any],
) -> Sequence[Any] | SearchStrategy[Any]:
    if not isinstance(events, Sequence):
        return events
    if isinstance(events, (str, bytes)) or not events:
        raise ConfigurationError("There are no events: give a list with at least one.")
    for number, event in enumerate(events):
        try:
            json.dumps(event)
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigurationError(f"events[{number}] is no JSON: {error}") from error
    return events


def _settings(
    options: StressOptions, replay: str | None, progress: Callable[[Progress], None] | None
) -> SearchSettings:
    settings = SearchSettings(
        budget_s=options.budget_s,
        max_schedules=options.schedules,
        max_bound=options.preemptions,
        granularities=granularities_of(options.granularity),
        seed=options.seed,
        options=RunOptions(
            include=options.include, backend=options.backend or backend_from(os.environ)
        ),
        examples=options.examples,
    )
    return adjusted(settings, replay, progress)
