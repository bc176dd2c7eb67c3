"""What may stand behind an option, and what is said when something else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmi_runtime.cli import main


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run `lmi`, expect exit code 2, and return the last line of what it said."""
    try:
        code: Any = main(arguments)
    except SystemExit as exit_:
        code = exit_.code
    assert code == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.splitlines()[-1]


@pytest.mark.parametrize("command", ["run", "load"])
@pytest.mark.parametrize("option", ["--concurrency", "--vcpus"])
@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "", "²"])
def test_counts_are_whole_and_at_least_one(
    capsys: pytest.CaptureFixture[str], command: str, option: str, text: str
) -> None:
    said = refused(capsys, command, "app.handler", f"{option}={text}")

    assert said.endswith(f"argument {option}: {text!r} is not a whole number of at least 1")


@pytest.mark.parametrize(
    ("command", "option"),
    [("run", "--timeout"), ("load", "--timeout"), ("load", "--seconds"), ("invoke", "--timeout")],
)
@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "long"])
def test_seconds_are_above_zero(
    capsys: pytest.CaptureFixture[str], command: str, option: str, text: str
) -> None:
    said = refused(capsys, command, "1", f"{option}={text}")

    assert said.endswith(f"argument {option}: {text!r} is not a number of seconds above zero")


@pytest.mark.parametrize("text", ["-1", "65536", "http"])
def test_ports_exist(capsys: pytest.CaptureFixture[str], text: str) -> None:
    said = refused(capsys, "run", "app.handler", f"--port={text}")

    assert said.endswith(f"argument --port: {text!r} is not a port from 0 to 65535")


@pytest.mark.parametrize("text", ["NAME", "=VALUE"])
def test_variables_have_a_name_and_a_value(capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert refused(capsys, "run", "app.handler", "--env", text).endswith("is not NAME=VALUE")


def test_callers_may_not_be_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "load", "app.handler", "--callers", "0")

    assert said.endswith("argument --callers: '0' is not a whole number of at least 1")


def test_a_handler_has_to_be_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_LAMBDA_RUNTIME_API", raising=False)
    monkeypatch.delenv("_HANDLER", raising=False)

    assert refused(capsys, "run") == "lmi run: name a handler, such as app.handler"


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("http://example.com", "http://example.com is not on this machine; use the AWS CLI"),
        ("example.com:80", "example.com:80 is not on this machine"),
        ("http://localhost:port", "--endpoint 'http://localhost:port' is not a URL: Port could"),
        ("http://[::1", "--endpoint 'http://[::1' is not a URL: Invalid IPv6 URL"),
    ],
)
def test_only_this_machine_is_called(
    capsys: pytest.CaptureFixture[str], endpoint: str, said: str
) -> None:
    assert refused(capsys, "invoke", "--endpoint", endpoint).startswith(f"lmi: {said}")


@pytest.mark.parametrize("text", ["{", "", "nothing"])
def test_an_event_is_json(capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert refused(capsys, "invoke", text).startswith("lmi: The event is not JSON: ")


def test_an_event_may_be_a_file_that_has_to_exist(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said = refused(capsys, "invoke", f"@{tmp_path / 'none.json'}")

    assert said.startswith("lmi: Cannot read the event: ")
