"""What the environment says, read once; and what it may not say."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.errors import ConfigurationError, InvalidConcurrency, UnsupportedMode
from lmi_runtime.model import LogFormat, Mode, Settings

MANAGED = {"AWS_LAMBDA_MAX_CONCURRENCY": "8"}


def read(**environ: str) -> Settings:
    return Settings.from_environ("app.handler", environ)


def test_everything_is_read() -> None:
    settings = Settings.from_environ(
        None,
        {
            "_HANDLER": "app.handler",
            "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
            "AWS_LAMBDA_MAX_CONCURRENCY": "8",
            "AWS_LAMBDA_CONCURRENCY_MODE": "Hybrid",
            "LMI_VCPUS": "2",
            "LAMBDA_TASK_ROOT": "/var/task",
            "AWS_LAMBDA_LOG_LEVEL": "debug",
            "_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET": "/tmp/logs.sock",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "4096",
            "LMI_BACKEND": "trio",
            "LMI_UVLOOP": "off",
            "LMI_SHUTDOWN_S": "1.8",
        },
        cwd="/elsewhere",
    )

    assert settings == Settings(
        handler="app.handler",
        runtime_api="127.0.0.1:9001",
        max_concurrency=8,
        mode=Mode.HYBRID,
        vcpus=2,
        task_root="/var/task",
        log_format=LogFormat.JSON,
        log_level=logging.DEBUG,
        log_socket="/tmp/logs.sock",
        memory_mb=4096,
        backend="trio",
        use_uvloop=False,
        shutdown_s=1.8,
    )


def test_nothing_but_a_handler_is_needed() -> None:
    assert read() == Settings(handler="app.handler", runtime_api="")


def test_nothing_changes_later() -> None:
    with pytest.raises(FrozenInstanceError):
        read().handler = "other"  # type: ignore[misc]


@pytest.mark.parametrize("environ", [{}, {"_HANDLER": ""}])
def test_a_handler_has_to_be_named(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="set _HANDLER"):
        Settings.from_environ(None, environ)


def test_the_command_line_wins() -> None:
    settings = Settings.from_environ(
        "mine.main",
        {"_HANDLER": "app.handler", "AWS_LAMBDA_CONCURRENCY_MODE": "process"},
        mode="thread",
    )

    assert (settings.handler, settings.mode) == ("mine.main", Mode.THREAD)


def test_the_code_is_where_we_are_unless_the_platform_says_otherwise() -> None:
    here = Settings.from_environ("a.b", {"LAMBDA_TASK_ROOT": ""}, cwd="/here")
    assert here.task_root == "/here"


# ---- numbers

COUNTS = ["AWS_LAMBDA_MAX_CONCURRENCY", "LMI_VCPUS", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "0x10"])
def test_a_count_that_is_none_is_an_error_that_names_it(name: str, text: str) -> None:
    with pytest.raises(InvalidConcurrency, match=f"^{name}='{text}' is not a whole number"):
        read(**{name: text})


@given(st.text(max_size=5))
def test_a_count_is_a_number_or_an_error_or_absent(text: str) -> None:
    count = None
    with contextlib.suppress(InvalidConcurrency):
        count = read(AWS_LAMBDA_MAX_CONCURRENCY=text).max_concurrency
        assert (count is None) == (text.strip() == "")
    assert count is None or count >= 1


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan", "inf"])
def test_a_time_that_is_none_is_an_error_that_names_it(text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^LMI_SHUTDOWN_S='{text}' is not a number"):
        read(LMI_SHUTDOWN_S=text)


# ---- logs


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, LogFormat.TEXT),
        ({"AWS_LAMBDA_LOG_FORMAT": "Text"}, LogFormat.TEXT),
        ({"AWS_LAMBDA_LOG_FORMAT": "JSON"}, LogFormat.JSON),
        (MANAGED, LogFormat.JSON),
        (MANAGED | {"AWS_LAMBDA_LOG_FORMAT": "Text"}, LogFormat.JSON),
    ],
)
def test_managed_instances_log_json_whatever_the_variable_says(
    environ: dict[str, str], wanted: LogFormat
) -> None:
    assert read(**environ).log_format is wanted


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("TRACE", logging.DEBUG),
        ("Info", logging.INFO),
        ("WARN", logging.WARNING),
        ("FATAL", logging.CRITICAL),
        ("", None),
        ("LOUD", None),
    ],
)
def test_the_platforms_levels_are_loggings(text: str, level: int | None) -> None:
    assert read(AWS_LAMBDA_LOG_LEVEL=text).log_level == level


# ---- choices


@pytest.mark.parametrize("mode", list(Mode))
def test_every_mode_can_be_asked_for(mode: Mode) -> None:
    assert read(AWS_LAMBDA_CONCURRENCY_MODE=f" {mode.value.upper()} ").mode is mode


def test_an_unknown_mode_is_an_error_that_names_the_known() -> None:
    with pytest.raises(UnsupportedMode, match="'fast' is not one of async, hybrid, thread, proc"):
        read(AWS_LAMBDA_CONCURRENCY_MODE="fast")


def test_an_unknown_backend_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="LMI_BACKEND='curio'"):
        read(LMI_BACKEND="curio")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("1", True), ("True", True), ("on", True), ("0", False), ("no", False), (" ", None)],
)
def test_a_switch_is_on_off_or_not_touched(text: str, wanted: bool | None) -> None:
    assert read(LMI_UVLOOP=text).use_uvloop is wanted


def test_a_switch_that_is_neither_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="LMI_UVLOOP='maybe' is neither on"):
        read(LMI_UVLOOP="maybe")
