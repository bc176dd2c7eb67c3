"""An environment that cannot start says so once, in its log and to the platform."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import pytest

from lmi_runtime import bootstrap
from lmi_runtime.bootstrap.reports import report_init_error
from lmi_runtime.emulator import Emulator
from lmi_runtime.errors import ConfigurationError
from lmi_runtime.model import Failure, LogFormat
from tests.support.patience import PATIENCE_S


class Platform:
    """An emulator on a loop of its own, because reporting blocks."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.emulator = self._on_loop(Emulator().__aenter__())
        self.address = self.emulator.runtime_api

    def error_types(self) -> str | None:
        """The error type that a caller is told once the process has ended."""

        async def ask() -> str | None:
            call = asyncio.ensure_future(self.emulator.invoke(b"{}"))
            await asyncio.sleep(0)
            self.emulator.runtime_exited()
            answer = await call
            return str(answer.error_type)

        return self._on_loop(ask())  # type: ignore[no-any-return]

    def close(self) -> None:
        self._on_loop(self.emulator.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    def _on_loop(self, work):  # type: ignore[no-untyped-def]
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)


@pytest.fixture
def platform() -> Iterator[Platform]:
    made = Platform()
    yield made
    made.close()


def test_log_and_platform_hear_the_same(
    platform: Platform, capfd: pytest.CaptureFixture[str]
) -> None:
    code = report_init_error(platform.address, ConfigurationError("That cannot be."))

    assert code == 1
    line = json.loads(capfd.readouterr().err)
    assert line.pop("timestamp")
    assert line == {
        "level": "ERROR",
        "message": "The function could not be started",
        "logger": "lmi_runtime.bootstrap",
        "errorType": "Runtime.InvalidConfiguration",
        "errorMessage": "That cannot be.",
        "stackTrace": [],
    }
    assert platform.error_types() == "Runtime.InvalidConfiguration"


def test_a_failure_that_a_worker_described_is_passed_on(
    platform: Platform, capfd: pytest.CaptureFixture[str]
) -> None:
    failure = Failure("Function.LookupError", "LookupError", "no luck", ("a frame\n",))

    report_init_error(platform.address, failure)

    line = json.loads(capfd.readouterr().err)
    assert (line["errorMessage"], line["stackTrace"]) == ("no luck", ["a frame\n"])
    assert platform.error_types() == "Function.LookupError"


def test_text_where_text_was_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    report_init_error("127.0.0.1:9", ConfigurationError("No."), LogFormat.TEXT)

    said = capfd.readouterr().err
    assert said.startswith("[ERROR]\t")
    assert "The function could not be started" in said
    assert "errorMessage=No." in said


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nonsense", "127.0.0.1:port"])
def test_a_platform_that_cannot_be_told_is_no_reason_not_to_log(
    capfd: pytest.CaptureFixture[str], address: str
) -> None:
    assert report_init_error(address, ConfigurationError("No.")) == 1
    assert json.loads(capfd.readouterr().err)["errorMessage"] == "No."


# ---- the way in


def test_there_is_nothing_to_poll_outside_lambda(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_LAMBDA_RUNTIME_API", raising=False)

    assert bootstrap.main(["app.handler"]) == 2
    assert "on a laptop, `lmi run` starts a local environment" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AWS_LAMBDA_MAX_CONCURRENCY", "many", "AWS_LAMBDA_MAX_CONCURRENCY='many'"),
        ("AWS_LAMBDA_CONCURRENCY_MODE", "fast", "Mode 'fast'"),
        ("LMI_UVLOOP", "maybe", "LMI_UVLOOP='maybe'"),
    ],
)
def test_a_variable_that_makes_no_sense_is_an_init_error(
    platform: Platform,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    said: str,
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", platform.address)
    monkeypatch.setenv(name, value)

    assert bootstrap.main(["app.handler"]) == 1
    assert said in json.loads(capfd.readouterr().err)["errorMessage"]
    assert str(platform.error_types()).startswith("Runtime.")


def test_an_unknown_mode_on_the_command_line_is_refused_there(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        bootstrap.main(["app.handler", "--mode", "fast"])

    assert "invalid choice: 'fast'" in capfd.readouterr().err
