"""The campaigns over the integrations notice when what keeps requests apart is taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("aws_lambda_powertools")
pytest.importorskip("aws_xray_sdk")
pytest.importorskip("boto3")
pytest.importorskip("opentelemetry.sdk")

from opentelemetry import context as otel_context

from lmi_runtime import context
from lmi_runtime.context import request as request_module
from lmi_runtime.integrations import patching, scopes
from lmi_runtime.integrations.boto import clients
from lmi_runtime.integrations.opentelemetry.flushing import Flusher
from lmi_runtime.integrations.patching import Patcher
from lmi_runtime.integrations.powertools import (
    batch,
    idempotency,
    metrics,
    metrics_state,
    resolution,
    routing,
)
from lmi_runtime.integrations.powertools import logger as logger_changes
from lmi_runtime.integrations.powertools.fetches import Fetches
from lmi_runtime.integrations.powertools.logger_buffer import RequestLines
from lmi_runtime.integrations.powertools.logger_keys import FormatterKeys
from lmi_runtime.integrations.powertools.logger_levels import RequestLevels
from lmi_runtime.integrations.scopes import PROCESS, PerContext, PerScope, Scope
from lmi_runtime.integrations.xray.storage import Local
from stress.scenarios import SCENARIOS
from tests.system.stress.campaigns import HUNT, searched

pytestmark = [pytest.mark.system, pytest.mark.slow]

Patch = pytest.MonkeyPatch


class _NoLock:
    def __enter__(self) -> None:
        """Keeps nobody out."""

    def __exit__(self, *_: object) -> None:
        """Lets everybody in."""


def plain_attributes(patch: Patch) -> None:
    for kind in (PerScope, PerContext, FormatterKeys, RequestLines):
        patch.setattr(kind, "__get__", lambda self, it, _=None: vars(it)[self._name])
        patch.setattr(
            kind,
            "__set__",
            lambda self, it, value: vars(it).__setitem__(self._name, value),
            raising=False,
        )


def everything_is_the_process(patch: Patch) -> None:
    patch.setattr(scopes, "holder", lambda: PROCESS)


def everybody_imports(patch: Patch) -> None:
    patch.setattr(scopes, "is_alone", lambda: True)


def cells_without_lock(patch: Patch) -> None:
    def make(self: Any) -> None:
        self._lock, self._made, self._value = _NoLock(), False, None

    patch.setattr(request_module._Cell, "__init__", make)


def no_place_for_calls(patch: Patch) -> None:
    @contextmanager
    def opened(self: Scope) -> Iterator[Any]:
        yield self.holder()

    patch.setattr(Scope, "opened", opened)


def threads_carry_nothing(patch: Patch) -> None:
    patch.setattr(context, "carried", lambda: None)


def change_is_noted_when_made(patch: Patch) -> None:
    def make(self: Any, change: Any, module: Any) -> None:
        if self._modules.get(change) is not module:
            self._states[change] = patching._carried_out(change, module)
            self._modules[change] = module
            self._waiting.pop(change, None)

    patch.setattr(Patcher, "_make", make)


def loggers_without_lock(patch: Patch) -> None:
    patch.setattr(logger_changes, "_setting_up", _NoLock)


def metrics_are_the_process(patch: Patch) -> None:
    patch.setattr(metrics_state, "_elsewhere", lambda instance: None)


def metrics_without_lock(patch: Patch) -> None:
    real = metrics_state._Kept.__init__

    def make(self: Any) -> None:
        real(self)
        self.lock = _NoLock()

    patch.setattr(metrics_state._Kept, "__init__", make)


def cold_starts_without_lock(patch: Patch) -> None:
    patch.setattr(metrics, "_cold_starting", _NoLock)


class _Shared:
    """In place of a context variable: everybody's."""

    def __init__(self, value: Any = None) -> None:
        self._value = value

    def get(self) -> Any:
        return self._value

    def set(self, value: Any) -> Any:
        before, self._value = self._value, value
        return before

    get_current, attach, detach = get, set, set


def levels_are_the_process(patch: Patch) -> None:
    patch.setattr(RequestLevels, "_decision", lambda self: self._process)


def open_subsegments_are_shared(patch: Patch) -> None:
    patch.setattr(Local, "_visible", lambda self: self._variable.get())
    patch.setattr(Local, "__init__", lambda self: object.__setattr__(self, "_variable", _Shared()))


def current_spans_are_shared(patch: Patch) -> None:
    shared = _Shared(otel_context.get_current())
    patch.setattr(otel_context, "_RUNTIME_CONTEXT", shared)


def the_flush_that_runs_will_do(patch: Patch) -> None:
    real = Flusher.flush

    def flush(self: Any, timeout_s: float) -> None:
        if not self._turn.locked():
            real(self, timeout_s)

    patch.setattr(Flusher, "flush", flush)


def routes_are_built_without_lock(patch: Patch) -> None:
    patch.setattr(routing, "_building", _NoLock)


def calls_of_resolve_share_their_facts(patch: Patch) -> None:
    real, shared = resolution.Resolution.__init__, dict[str, Any]()

    def make(self: Any, *arguments: Any) -> None:
        real(self, *arguments)
        self.facts = shared

    patch.setattr(resolution.Resolution, "__init__", make)


def batches_are_the_processor(patch: Patch) -> None:
    patch.setattr(batch, "_begin", lambda processor: None)


def layers_are_configured_without_lock(patch: Patch) -> None:
    patch.setattr(idempotency._configure_lock, "_make", _NoLock)


def nothing_is_awaited(patch: Patch) -> None:
    async def finished(handler: Any, function: Callable[..., Any]) -> Any:
        made = function(*handler.fn_args, **handler.fn_kwargs)
        return await idempotency._settled(handler, idempotency.returning(made))

    patch.setattr(idempotency, "_finished", finished)


def everybody_makes_clients(patch: Patch) -> None:
    patch.setattr(clients, "_makers", dict[Any, Any])


def sessions_without_lock(patch: Patch) -> None:
    patch.setattr(clients, "turn", lambda session: _NoLock())


def everybody_fetches(patch: Patch) -> None:
    patch.setattr(Fetches, "share", lambda self, provider, key, fetch: fetch())


def nothing_is_outdated(patch: Patch) -> None:
    patch.setattr(Fetches, "outdating", lambda self, provider: _NoLock())


@pytest.mark.parametrize(
    ("name", "mutate"),
    [
        ("state_of_requests", plain_attributes),
        ("state_of_requests", threads_carry_nothing),
        ("state_of_tasks_beside_threads", everything_is_the_process),
        ("first_value_of_a_request", cells_without_lock),
        ("state_outside_requests", everybody_imports),
        ("state_of_calls", no_place_for_calls),
        ("state_of_contexts", plain_attributes),
        ("plain_threads", threads_carry_nothing),
        ("plain_pools", threads_carry_nothing),
        ("changes_made_once", change_is_noted_when_made),
        ("keys_of_requests", plain_attributes),
        ("keys_of_bare_invocations", plain_attributes),
        ("keys_of_helper_threads", threads_carry_nothing),
        ("logger_made_by_two", loggers_without_lock),
        ("lines_held_back", plain_attributes),
        ("sampled_levels", levels_are_the_process),
        ("metrics_of_requests", metrics_are_the_process),
        ("metrics_of_tasks_beside_threads", metrics_are_the_process),
        ("metrics_of_one_request", metrics_without_lock),
        ("cold_start_told_once", cold_starts_without_lock),
        ("route_first_asked_by_two", routes_are_built_without_lock),
        ("routes_of_requests", calls_of_resolve_share_their_facts),
        ("batches_of_requests", batches_are_the_processor),
        ("batches_of_tasks", batches_are_the_processor),
        ("idempotent_call_of_two", layers_are_configured_without_lock),
        ("idempotent_call_of_two_tasks", nothing_is_awaited),
        ("idempotent_calls_within_another", plain_attributes),
        ("parameter_of_two", everybody_fetches),
        ("parameter_and_clear", nothing_is_outdated),
        ("clients_of_two", everybody_makes_clients),
        ("clients_of_two", sessions_without_lock),
        ("client_of_a_task_beside_a_thread", everybody_makes_clients),
        ("annotations_of_requests", open_subsegments_are_shared),
        ("annotations_of_helper_threads", threads_carry_nothing),
        ("captured_handlers", open_subsegments_are_shared),
        ("captured_tasks", open_subsegments_are_shared),
        ("spans_of_requests", current_spans_are_shared),
        ("flush_of_spans", the_flush_that_runs_will_do),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
# A run that failed is unwound wherever it is, in finalizers, too.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_scenario_fails_when_the_code_is_broken(
    name: str, mutate: Callable[[Patch], None], monkeypatch: Patch
) -> None:
    scenario = SCENARIOS[name]()  # what it warms up is whole
    mutate(monkeypatch)

    report = searched(name, scenario, HUNT)

    assert report.findings, report.coverage
