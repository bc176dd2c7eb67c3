"""powertools' Logger and Metrics: keys, held back lines, levels and metrics of requests at once."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import Callable
from contextvars import Context
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.integrations import make_safe
from lmi_runtime.stress.control.patches import controlled, is_controlled
from stress.scenarios.scenario import Budget, Scenario, State
from stress.scenarios.serving import requests, serves

__all__ = [
    "cold_start_told_once",
    "keys_of_bare_invocations",
    "keys_of_helper_threads",
    "keys_of_requests",
    "lines_held_back",
    "logger_made_by_two",
    "metrics_of_one_request",
    "metrics_of_requests",
    "metrics_of_tasks_beside_threads",
    "sampled_levels",
]

_OURS = ("lmi_runtime.integrations.scopes", "lmi_runtime.integrations.powertools")
_LOGGER = (*_OURS, "aws_lambda_powertools.logging")
_METRICS = (*_OURS, "aws_lambda_powertools.metrics")
_NAME = "stress.scenarios.powertools"


class Lines(io.StringIO):
    """What was written, line by line."""

    @property
    def read(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """All of it so far."""
        return [json.loads(line) for line in self.getvalue().splitlines()]


def _logger(stream: io.StringIO, **options: Any) -> Any:
    """One that is as new: its handlers' locks are this run's."""
    from aws_lambda_powertools import Logger

    logging.Logger.manager.loggerDict.pop(_NAME, None)
    return Logger(service=_NAME, stream=stream, level="INFO", **options)


def _with_logger(**options: Any) -> State:
    state = requests("a", "b")
    state.lines = Lines()
    state.logger = _logger(state.lines, **options)
    state.logger.append_keys(base="base")
    return state


def _warm_logger(**options: Any) -> Callable[[], State]:
    """What is worked out once a process is, by a line of each kind."""
    make_safe()
    _with_logger(**options).logger.info("warm")
    return lambda: _with_logger(**options)


def _each_its_own(state: State) -> None:
    """Every line has the keys of the request that its message names, and the import's."""
    assert state.lines.read, "nothing was logged"
    for line in state.lines.read:
        mine, _, extra = line["message"].partition(" ")
        found = {key: line.get(key) for key in ("base", "user", "extra")}
        assert found == {"base": "base", "user": mine, "extra": extra or None}, line
    assert vars(state.logger.registered_formatter)["log_format"].get("user") is None


def _logs(state: State, mine: str) -> None:
    state.logger.append_keys(user=mine)
    with state.logger.append_context_keys(extra="1"):
        state.logger.info(f"{mine} 1")
    state.logger.info(mine)


async def _logs_between_waits(state: State, mine: str) -> None:
    async def child(extra: str) -> None:
        state.logger.append_keys(extra=extra)
        await asyncio.sleep(0)
        state.logger.info(f"{mine} {extra}")

    state.logger.append_keys(user=mine)
    await asyncio.gather(child("1"), child("2"))
    state.logger.info(mine)


def keys_of_requests() -> Scenario:
    """Lines of two requests at once, in a thread and in tasks, have their own keys each."""
    both = serves("a", _logs), serves("b", _logs_between_waits)
    return Scenario(_warm_logger(), both, _each_its_own, _LOGGER, Budget(preemptions=1))


def keys_of_helper_threads() -> Scenario:
    """A helper thread logs with the keys of its request, and what it adds stays with it."""

    def code(state: State, mine: str) -> None:
        def helps() -> None:
            state.logger.append_keys(extra="helper")
            state.logger.info(f"{mine} helper")

        state.logger.append_keys(user=mine)
        helper = _sync.Thread(target=helps)
        helper.start()
        state.logger.info(mine)
        helper.join()

    both = serves("a", code), serves("b", _logs)
    return Scenario(_warm_logger(), both, _each_its_own, _LOGGER, Budget(preemptions=0))


class LambdaContext:
    """What other runtimes give to handlers."""

    function_name = "function"
    memory_limit_in_mb = 128
    function_version = "1"
    tenant_id = None

    def __init__(self, name: str) -> None:
        self.aws_request_id = name
        self.invoked_function_arn = f"arn:aws:lambda:eu-west-1:123456789012:function:{name}"

    def get_remaining_time_in_millis(self) -> int:
        """As every context's."""
        return 60_000


def keys_of_bare_invocations() -> Scenario:
    """Without our runtime, the decorator of the handler is what keeps two invocations apart."""
    make = _warm_logger()

    def setup() -> State:
        state = make()

        def handle(event: Any, context: Any) -> None:
            _logs(state, event)

        state.handle = state.logger.inject_lambda_context(handle, clear_state=False)
        return state

    def invoked(name: str) -> Callable[[State], None]:
        def invocation(state: State) -> None:
            Context().run(state.handle, name, LambdaContext(name))

        return invocation

    def own(state: State) -> None:
        _each_its_own(state)
        for line in state.lines.read:
            assert line["function_request_id"] == line["user"], line

    both = invoked("a"), invoked("b")
    return Scenario(setup, both, own, _LOGGER, Budget(preemptions=1))


def logger_made_by_two() -> Scenario:
    """Two requests make the same logger: it has one handler, and each line is written once."""
    make = _warm_logger()

    def setup() -> State:
        state = make()
        state.lines = Lines()
        logging.Logger.manager.loggerDict.pop(_NAME, None)
        return state

    def makes(state: State, mine: str) -> None:
        from aws_lambda_powertools import Logger

        logger = Logger(service=_NAME, stream=state.lines, level="INFO")
        logger.append_keys(user=mine)
        logger.info(mine)

    def once(state: State) -> None:
        seen = [(line["message"], line.get("user")) for line in state.lines.read]
        assert sorted(seen) == [("a", "a"), ("b", "b")], seen
        assert len(logging.getLogger(_NAME).handlers) == 1

    both = serves("a", makes), serves("b", makes)
    return Scenario(setup, both, once, _LOGGER, Budget(preemptions=1))


def lines_held_back() -> Scenario:
    """What one request flushes are its own lines; those of the other stay held back."""
    make_safe()
    from aws_lambda_powertools.logging.buffer import LoggerBufferConfig

    make = _warm_logger(buffer_config=LoggerBufferConfig(buffer_at_verbosity="INFO"))

    def holds(state: State, mine: str) -> None:
        state.logger.append_keys(user=mine)
        state.logger.info(mine)
        state.logger.clear_buffer()
        state.logger.info(mine)

    def flushes(state: State, mine: str) -> None:
        state.logger.append_keys(user=mine)
        state.logger.info(mine)
        state.logger.flush_buffer()

    def only_flushed(state: State) -> None:
        assert [line["message"] for line in state.lines.read] == ["a"], state.lines.read

    both = serves("a", flushes), serves("b", holds)
    return Scenario(make, both, only_flushed, _LOGGER, Budget(preemptions=1))


def sampled_levels() -> Scenario:
    """A request that logs everything, sampled as it is, is the only one that does."""
    make = _warm_logger()

    def samples(state: State, mine: str) -> None:
        state.logger.append_keys(user=mine)
        state.logger.sampling_rate = 1.0
        state.logger.refresh_sample_rate_calculation()
        state.logger.debug(mine)

    def does_not(state: State, mine: str) -> None:
        state.logger.append_keys(user=mine)
        for _ in range(2):
            state.logger.debug(mine)

    def only_sampled(state: State) -> None:
        seen = [line["message"] for line in state.lines.read if line["level"] == "DEBUG"]
        assert set(seen) == {"a"}, state.lines.read

    both = serves("a", samples), serves("b", does_not)
    return Scenario(make, both, only_sampled, _LOGGER, Budget(preemptions=1))


# --------------------------------------------------------------------------- metrics


class Printed:
    """What metrics were printed, in place of standard output while it lasts."""

    def __init__(self) -> None:
        self.blobs: list[dict[str, Any]] = []

    def write(self, text: str) -> None:
        """Of a whole line, as nothing else is one."""
        assert text.endswith("\n"), text
        self.blobs.append(json.loads(text))


class _Sys:
    """The module `sys`, as far as metrics need it."""

    def __init__(self) -> None:
        self.printed = Printed()

    @property
    def stdout(self) -> Any:
        """The run's; who is in no run has the real one."""
        return self.printed if is_controlled() else sys.stdout


_sys = _Sys()


def _with_metrics(**options: Any) -> State:
    from aws_lambda_powertools import Metrics
    from aws_lambda_powertools.metrics.provider import cold_start

    cold_start.is_cold_start = True
    _sys.printed = Printed()
    shared: list[Any] = [Metrics._metrics, Metrics._dimensions, Metrics._metadata]
    for container in [*shared, Metrics._default_dimensions]:
        container.clear()
    state = requests("a", "b")
    state.metrics = Metrics(namespace="Shop", service="orders")

    def handle(event: str, context: Any) -> None:
        _adds(state, event)

    async def handle_async(event: str, context: Any) -> None:
        _adds(state, event)
        await asyncio.sleep(0)
        _adds_metric(state, event)

    def handle_with_helper(event: str, context: Any) -> None:
        helper = _sync.Thread(target=_adds_metric, args=(state, event))
        helper.start()
        _adds(state, event)
        helper.join()

    log_metrics = state.metrics.log_metrics
    state.handle = log_metrics(handle, **options)
    state.handle_async = log_metrics(handle_async, **options)
    state.handle_with_helper = log_metrics(handle_with_helper, **options)
    return state


def _warm_metrics(**options: Any) -> Callable[[], State]:
    make_safe()
    from lmi_runtime.integrations.powertools import metrics_lines

    vars(metrics_lines)["sys"] = _sys
    with controlled():
        state = _with_metrics(**options)
        serves("a", _handles)(state)
    return lambda: _with_metrics(**options)


def _adds(state: State, mine: str) -> None:
    state.metrics.add_dimension(name="caller", value=mine)
    state.metrics.add_metadata(key="who", value=mine)
    _adds_metric(state, mine)


def _adds_metric(state: State, mine: str) -> None:
    state.metrics.add_metric(name="orders", unit="Count", value=ord(mine))


def _handles(state: State, mine: str) -> None:
    state.handle(mine, LambdaContext(mine))


async def _handles_async(state: State, mine: str) -> None:
    await state.handle_async(mine, LambdaContext(mine))


def _one_blob_each(state: State) -> None:
    blobs = [blob for blob in _sys.printed.blobs if "ColdStart" not in blob]
    assert sorted(blob["caller"] for blob in blobs) == ["a", "b"], blobs
    for blob in blobs:
        assert blob["who"] == blob["caller"], blob
        assert set(blob["orders"]) == {float(ord(blob["caller"]))}, blob
        assert {"caller", "service"} == set(blob["_aws"]["CloudWatchMetrics"][0]["Dimensions"][0])


def metrics_of_requests() -> Scenario:
    """Two requests at once publish a line each, which has their own metrics and dimensions."""
    both = serves("a", _handles), serves("b", _handles)
    return Scenario(_warm_metrics(), both, _one_blob_each, _METRICS, Budget(preemptions=1))


def metrics_of_tasks_beside_threads() -> Scenario:
    """The same for a task, which publishes when it has ended, beside a thread."""
    both = serves("a", _handles_async), serves("b", _handles)
    return Scenario(_warm_metrics(), both, _one_blob_each, _METRICS, Budget(preemptions=1))


def metrics_of_one_request() -> Scenario:
    """What a helper thread adds is published with the metrics of its request: all of it."""

    def request(state: State, mine: str) -> None:
        state.handle_with_helper(mine, LambdaContext(mine))

    def all_of_it(state: State) -> None:
        assert [blob["orders"] for blob in _sys.printed.blobs] == [[97.0, 97.0]]

    only = (serves("a", request),)
    return Scenario(_warm_metrics(), only, all_of_it, _METRICS, Budget(preemptions=1))


def cold_start_told_once() -> Scenario:
    """Of two requests that come first, one is the cold start, and says so once."""

    def once(state: State) -> None:
        _one_blob_each(state)
        cold = [blob for blob in _sys.printed.blobs if "ColdStart" in blob]
        assert len(cold) == 1, cold

    make = _warm_metrics(capture_cold_start_metric=True)
    both = serves("a", _handles), serves("b", _handles)
    return Scenario(make, both, once, _METRICS, Budget(preemptions=1))
