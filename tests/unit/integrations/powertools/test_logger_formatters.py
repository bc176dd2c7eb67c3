"""Formatters of the user's own: isolated where that can be, and told about where it cannot."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

import pytest

from lmi_runtime.integrations import make_safe
from tests.support.crowd import ThreadCrowd

make_safe()

from aws_lambda_powertools import Logger  # noqa: E402
from aws_lambda_powertools.logging.formatter import (  # noqa: E402
    BasePowertoolsFormatter,
    LambdaPowertoolsFormatter,
)
from aws_lambda_powertools.logging.formatters.datadog import DatadogLogFormatter  # noqa: E402

from tests.support.powertools_logger import Lines, make_logger  # noqa: E402


def leaves_keys() -> type:
    class Renames(LambdaPowertoolsFormatter):
        def append_keys(self, **additional_keys: Any) -> None:
            super().append_keys(**{f"my_{key}": value for key, value in additional_keys.items()})

    return Renames


def changes_in_place() -> type:
    class InPlace(LambdaPowertoolsFormatter):
        def append_keys(self, **additional_keys: Any) -> None:
            for key, value in additional_keys.items():
                self.log_format[f"my_{key}"] = value

    return InPlace


def has_its_own_besides() -> type:
    class Besides(LambdaPowertoolsFormatter):
        def __init__(self) -> None:
            self.mine: dict[str, Any] = {}
            super().__init__()

        def append_keys(self, **additional_keys: Any) -> None:
            self.mine.update({f"my_{key}": value for key, value in additional_keys.items()})

        def serialize(self, log: Any) -> str:
            return super().serialize({**log, **self.mine})

    return Besides


def has_its_own() -> type:
    class Own(BasePowertoolsFormatter):
        def __init__(self) -> None:
            super().__init__()
            self.keys: dict[str, Any] = {"my_base": True}

        def append_keys(self, **additional_keys: Any) -> None:
            self.keys.update({f"my_{key}": value for key, value in additional_keys.items()})

        def remove_keys(self, keys: Iterable[str]) -> None:
            for key in keys:
                self.keys.pop(f"my_{key}", None)

        def clear_state(self) -> None:
            self.keys = {}

        def format(self, record: logging.LogRecord) -> str:
            return json.dumps({"message": record.getMessage(), **self.keys})

    return Own


def has_it_in_a_global() -> type:
    keys: dict[str, Any] = {}

    class Global(BasePowertoolsFormatter):
        def append_keys(self, **additional_keys: Any) -> None:
            keys.update(additional_keys)

        def clear_state(self) -> None:
            keys.clear()

        def format(self, record: logging.LogRecord) -> str:
            return json.dumps(keys)

    return Global


def has_it_in_a_context_variable() -> type:
    keys: ContextVar[dict[str, Any] | None] = ContextVar("keys", default=None)

    class InContext(BasePowertoolsFormatter):
        def append_keys(self, **additional_keys: Any) -> None:
            keys.set({**(keys.get() or {}), **additional_keys})

        def clear_state(self) -> None:
            keys.set({})

        def format(self, record: logging.LogRecord) -> str:
            return json.dumps(keys.get())

    return InContext


def has_a_context_variable_of_its_own() -> type:
    class OwnVariable(LambdaPowertoolsFormatter):
        def __init__(self) -> None:
            super().__init__()
            self.keys: ContextVar[dict[str, Any] | None] = ContextVar("keys", default=None)

        def append_keys(self, **additional_keys: Any) -> None:
            self.keys.set({**(self.keys.get() or {}), **additional_keys})

    return OwnVariable


@pytest.mark.parametrize("kind", [leaves_keys, changes_in_place, has_its_own_besides, has_its_own])
def test_requests_have_keys_of_their_own(kind: Callable[[], type]) -> None:
    lines = Lines()
    logger = make_logger(lines, logger_formatter=kind()())
    logger.append_keys(imported="import")
    crowd = ThreadCrowd()

    def handle(number: int) -> None:
        logger.append_keys(user=number)
        crowd.meet()
        logger.info(f"by {number}")

    crowd.serve(handle)
    logger.info("by nobody")

    assert {line["message"]: line.get("my_user") for line in lines} == {
        "by nobody": None,
        **{f"by {number}": number for number in range(crowd.count)},
    }
    assert {line["my_imported"] for line in lines} == {"import"}


@pytest.mark.parametrize("kind", [has_its_own_besides, has_its_own])
def test_one_that_is_made_within_a_request_serves_the_others(kind: Callable[[], type]) -> None:
    lines, formatter = Lines(), kind()
    make_logger(logger_formatter=formatter())
    logger = ThreadCrowd(1).serve(lambda _: make_logger(lines, logger_formatter=formatter()))[0]
    crowd = ThreadCrowd(5)

    def handle(number: int) -> None:
        logger.append_keys(user=number)
        crowd.meet()
        logger.info(f"by {number}")

    crowd.serve(handle)

    assert {line["message"]: line["my_user"] for line in lines} == {
        f"by {number}": number for number in range(5)
    }


@pytest.mark.parametrize(
    "kind",
    [
        leaves_keys,
        changes_in_place,
        has_it_in_a_context_variable,
        has_a_context_variable_of_its_own,
        lambda: LambdaPowertoolsFormatter,
        lambda: DatadogLogFormatter,
    ],
)
def test_those_that_leave_keys_to_powertools_are_not_told_about(
    kind: Callable[[], type], caplog: pytest.LogCaptureFixture
) -> None:
    make_logger(logger_formatter=kind()())

    assert caplog.text == ""


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (has_its_own, "<locals>.Own keeps log keys by itself, in keys: each request gets a copy"),
        (has_its_own_besides, "<locals>.Besides keeps log keys by itself, in mine: each request"),
        (has_it_in_a_global, "<locals>.Global keeps log keys by itself, where they cannot be"),
    ],
)
def test_those_that_do_not_are_told_about_once(
    kind: Callable[[], type], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    formatter = kind()
    for _ in range(2):
        make_logger(logger_formatter=formatter())

    (record,) = caplog.records
    assert (record.name, record.levelname) == ("lmi_runtime.integrations", "WARNING")
    assert text in record.message
    assert "Derive it from powertools' LambdaPowertoolsFormatter" in record.message


def test_it_stays_possible_to_inspect_the_formatters_parameters() -> None:
    import inspect

    assert "json_serializer" in inspect.signature(LambdaPowertoolsFormatter).parameters


def test_formatters_of_loggers_that_were_there_before_are_looked_at(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from aws_lambda_powertools.logging import logger as logger_module

    from lmi_runtime.integrations.patching import Swaps
    from lmi_runtime.integrations.powertools.logger import make_logger_safe

    logger = make_logger()
    assert isinstance(logger, Logger)
    logger.registered_handler.setFormatter(has_its_own()())
    make_logger_safe(logger_module, Swaps())

    assert "Own keeps log keys by itself" in caplog.text
