"""`lmi invoke` against a server that answers as it is told."""

from __future__ import annotations

import io
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lmi_runtime.cli import main
from lmi_runtime.cli.errors import CliError
from lmi_runtime.cli.invoke import read_event
from tests.support.patience import PATIENCE_S

Serve = Callable[[bytes], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answer one connection with these bytes; gives the endpoint."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def begin(answer: bytes) -> str:
        def work() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        threads.append(threading.Thread(target=work, daemon=True))
        threads[-1].start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield begin
    for thread in threads:
        thread.join(PATIENCE_S)
    listener.close()


def answer(body: bytes, *fields: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


def test_what_a_function_returns_is_printed_with_one_line_end(
    serve: Serve, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    endpoint = serve(answer(b'{"a": "\xc3\xa9"}\n'))

    assert main(["invoke", "--endpoint", endpoint]) == 0
    assert capfdbinary.readouterr() == (b'{"a": "\xc3\xa9"}\n', b"")


@pytest.mark.parametrize("name", ["Error-Type", "X-Amz-Function-Error"])
def test_an_error_of_the_function_is_exit_code_1(
    serve: Serve, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    endpoint = serve(answer(b"{}", f"{name}: Function.ValueError"))

    assert main(["invoke", "--endpoint", endpoint]) == 1
    assert capfd.readouterr() == ("{}\n", "lmi invoke: 200 Function.ValueError\n")


def test_a_refusal_is_exit_code_1(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    endpoint = serve(answer(b"", status="429 Too Many Requests"))

    assert main(["invoke", "--endpoint", endpoint]) == 1
    assert capfd.readouterr().err == "lmi invoke: 429\n"


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-OpenSSH\r\n"])
def test_what_is_no_answer_is_said(
    serve: Serve, capfd: pytest.CaptureFixture[str], said: bytes
) -> None:
    endpoint = serve(said)

    assert main(["invoke", "--endpoint", endpoint]) == 2

    assert capfd.readouterr().err.startswith(f"lmi: Nobody answers at {endpoint} (")


def test_no_answer_in_time_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"127.0.0.1:{silent.getsockname()[1]}"

        assert main(["invoke", "--endpoint", endpoint, "--timeout", "0.01"]) == 2

    assert capfd.readouterr().err == "lmi: No answer within 0.01 seconds.\n"


def test_an_event_is_a_text_a_file_or_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "event.json").write_bytes(b"[1]")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"[2]")))

    assert read_event("[0]") == b"[0]"
    assert read_event(f"@{tmp_path / 'event.json'}") == b"[1]"
    assert read_event("-") == b"[2]"


def test_standard_input_has_to_be_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))

    with pytest.raises(CliError, match="not JSON"):
        read_event("-")
