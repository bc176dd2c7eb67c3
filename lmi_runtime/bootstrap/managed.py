"""Lambda Managed Instances: a supervisor and its workers."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmi_runtime.bootstrap.loading import load_handler
from lmi_runtime.bootstrap.modes import HandlerFacts, choose_mode
from lmi_runtime.bootstrap.reports import report_init_error
from lmi_runtime.bootstrap.worker import worker_body
from lmi_runtime.errors import LmiError
from lmi_runtime.handlers import Target
from lmi_runtime.logs import SupervisorLog, prepare
from lmi_runtime.model import Failure, LogFormat, PostVerdict, Settings
from lmi_runtime.rapi import BlockingRuntimeApi
from lmi_runtime.supervisor import InFlight, RestartRules, Supervisor, plan
from lmi_runtime.supervisor.preload import (
    Verdict,
    freeze_for_fork,
    judge_preload,
    plan_reexec,
    preload_allowed,
    take_footprint,
)
from lmi_runtime.supervisor.vcpus import detect_vcpus

__all__ = ["serve"]

_FACTS_VARIABLE = "LMI_PRELOAD_FACTS"


def serve(settings: Settings) -> int:
    """Supervise workers until the platform ends this environment; returns the exit code."""
    began = _Beginning(dict(os.environ), os.getcwd())
    # Before the import, so that user code finds, and keeps, the streams its requests log through.
    prepare(settings)
    log = SupervisorLog(json=settings.log_format is LogFormat.JSON)
    try:
        found = _find_handler(settings)
        mode = choose_mode(settings.mode, found.facts)
    except LmiError as error:
        return report_init_error(settings.runtime_api, error)
    if not found.verdict.safe:
        log.warning(found.verdict.reason)
        _start_anew(found.facts, began)
    assert settings.max_concurrency is not None
    vcpus = detect_vcpus(settings)
    workers = plan(
        max_concurrency=settings.max_concurrency,
        vcpus=vcpus.count,
        mode=mode,
        max_per_vcpu=found.facts.max_per_vcpu,
    )
    log.info(
        f"{workers.slots} slots in {len(workers.workers)} workers; {vcpus.explain()}",
        mode=mode.value,
        slots=list(workers.workers),
    )
    hooks = _Hooks(settings, log)
    freeze_for_fork()
    body = worker_body(settings, mode, found.target, processes=len(workers.workers))
    rules = RestartRules(shutdown_budget_s=settings.shutdown_s)
    return Supervisor(workers, body, hooks, rules=rules).run()


@dataclass(frozen=True, slots=True)
class _Beginning:
    """What user code may change while it is imported, and has to find again at its next import."""

    environ: Mapping[str, str]
    cwd: str


@dataclass(frozen=True, slots=True)
class _Found:
    """`target` is None when each worker has to import the handler for itself."""

    facts: HandlerFacts
    target: Target | None
    verdict: Verdict


def _find_handler(settings: Settings) -> _Found:
    """Import the handler here, before the fork, unless an earlier life found that unsafe."""
    known = os.environ.pop(_FACTS_VARIABLE, None)
    if known is not None and not preload_allowed(os.environ):
        return _Found(HandlerFacts.from_text(known), None, Verdict(safe=True))
    before = take_footprint()
    target = load_handler(settings)
    verdict = judge_preload(settings.handler, before, take_footprint())
    if verdict.safe and not preload_allowed(os.environ):
        verdict = Verdict(safe=False, reason="LMI_PRELOAD=0: each worker imports the handler.")
    return _Found(HandlerFacts.of(target.spec), target, verdict)


def _start_anew(facts: HandlerFacts, began: _Beginning) -> None:
    """Become a fresh process that knows the handler without having imported it."""
    again = plan_reexec(began.environ)
    sys.stdout.flush()
    sys.stderr.flush()
    environ = {**again.env, _FACTS_VARIABLE: facts.to_text()}
    os.chdir(began.cwd)
    os.execve(again.executable, again.argv, environ)


class _Hooks:
    """What the supervisor asks of the outside. Thread safety: the supervisor's only thread."""

    def __init__(self, settings: Settings, log: SupervisorLog) -> None:
        self._address = settings.runtime_api
        self._api = BlockingRuntimeApi(settings.runtime_api)
        self._level = settings.log_level or logging.INFO
        self._log = log

    def answer_dead(self, lost: Sequence[InFlight], why: str) -> None:
        failure = Failure("Runtime.ExitError", "ExitError", f"The worker process {why}.")
        for one in lost:
            result = self._api.fail(one.request_id, one.invocation_id, failure)
            if result.verdict is PostVerdict.LOST:
                # Each try may take seconds, in which no signal is heard: the callers' own
                # time-outs have to do.
                return

    def report_init_error(self, failure: Failure) -> None:
        report_init_error(self._address, failure)

    def open_event_poll(self) -> socket.socket | None:
        # Without an extension the platform kills without a SIGTERM before.
        extension_id = self._api.register_extension(f"lmi-runtime-{os.getpid()}")
        return None if extension_id is None else self._api.open_event_poll(extension_id)

    def log(self, level: int, message: str, **fields: object) -> None:
        if level >= self._level:
            self._log.write(level, message, **fields)
