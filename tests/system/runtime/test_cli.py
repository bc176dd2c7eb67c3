"""The `lmi` command as people use it: real processes, real ports, real Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.support.patience import PATIENCE_S
from tests.support.repository import REPOSITORY
from tests.system.runtime.environments import FUNCTIONS

pytestmark = pytest.mark.system

# As a terminal would start it: a shell starts what it runs in the background, and so perhaps this
# test, with Ctrl-C ignored.
_AS_IN_A_TERMINAL = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
LMI = (
    sys.executable,
    "-c",
    _AS_IN_A_TERMINAL + "from lmi_runtime.cli import main; sys.exit(main())",
)
SMALL = ("--vcpus", "1", "--concurrency", "2")


class Command:
    """A command that runs; its output is read as it comes."""

    def __init__(self, command: Sequence[str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=FUNCTIONS,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._changed = threading.Condition()
        self._texts = {"out": "", "err": ""}  # guarded by _changed
        self._readers = [
            threading.Thread(target=self._read, args=(name, pipe), daemon=True)
            for name, pipe in (("out", self.process.stdout), ("err", self.process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, pipe: Any) -> None:
        with pipe:
            for line in pipe:
                with self._changed:
                    self._texts[name] += line
                    self._changed.notify_all()

    @property
    def out(self) -> str:
        with self._changed:
            return self._texts["out"]

    @property
    def err(self) -> str:
        with self._changed:
            return self._texts["err"]

    def wait_for(self, pattern: str) -> str:
        """The first group of what both outputs show sooner or later."""
        give_up_s = time.monotonic() + PATIENCE_S
        with self._changed:
            while not (found := re.search(pattern, self._texts["out"] + self._texts["err"])):
                left_s = give_up_s - time.monotonic()
                assert self._changed.wait(max(0.0, left_s)), self._texts
        return found.group(1)

    def finish(self) -> int:
        code = self.process.wait(PATIENCE_S)
        for reader in self._readers:
            reader.join(PATIENCE_S)
        return code


class Commands:
    """Starts commands in the folder of the functions, and ends what has not ended itself."""

    def __init__(self) -> None:
        self._started: list[Command] = []

    def __call__(self, *arguments: str, program: Sequence[str] = LMI, **more: str) -> Command:
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "COLUMNS": "120"}
        self._started.append(Command([*program, *arguments], env | more))
        return self._started[-1]

    def close(self) -> None:
        for command in self._started:
            # Its runtime has a group of its own, and ends with it if it is asked to.
            command.process.terminate()
            try:
                command.process.wait(PATIENCE_S)
            finally:
                command.process.kill()


@pytest.fixture
def run() -> Iterator[Commands]:
    """Run a command; it is over when the test is."""
    commands = Commands()
    yield commands
    commands.close()


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Command, str]]:
    """`lmi run` for all tests that leave it running, and the endpoint it says it has."""
    commands = Commands()
    yield serve(commands, "--env", "GREETING=hello")
    commands.close()


def serve(run: Commands, *arguments: str) -> tuple[Command, str]:
    command = run("run", "tasks.main", "--port", "0", *SMALL, *arguments)
    return command, command.wait_for(r"--endpoint (http://127\.0\.0\.1:\d+)")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_serves_until_it_is_stopped(run: Commands, number: signal.Signals) -> None:
    command, _ = serve(run)

    command.process.send_signal(number)

    assert command.finish() == 0
    assert "Stopping all workers" in command.out
    assert "Traceback" not in command.out + command.err


def test_invoke_prints_what_came_back(run: Commands, server: tuple[Command, str]) -> None:
    good = run("invoke", '{"a": "é"}', "--endpoint", server[1])

    assert good.finish() == 0
    assert json.loads(good.out) == {"event": {"a": "é"}}
    assert good.err == ""


def test_invoke_fails_when_the_function_does(run: Commands, server: tuple[Command, str]) -> None:
    bad = run("invoke", '{"do": "fail", "raise": "ValueError"}', "--endpoint", server[1])

    assert bad.finish() == 1
    assert json.loads(bad.out)["errorMessage"] == "wanted"
    assert bad.err == "lmi invoke: 200 Function.ValueError\n"
    server[0].wait_for(r'("errorMessage": "wanted")')


def test_run_shows_what_a_function_logs_at_info(run: Commands, server: tuple[Command, str]) -> None:
    run("invoke", '{"do": "chatter", "lines": 1, "bytes": 1}', "--endpoint", server[1]).finish()

    server[0].wait_for(r"(line 0 x)")


def test_run_hands_variables_to_the_function(run: Commands, server: tuple[Command, str]) -> None:
    call = run("invoke", '{"do": "variable", "name": "GREETING"}', "--endpoint", server[1])

    assert call.finish() == 0
    assert call.out == '"hello"\n'


def test_run_can_be_called_with_an_aws_client(server: tuple[Command, str]) -> None:
    boto3 = pytest.importorskip("boto3")
    client = boto3.client(
        "lambda",
        endpoint_url=server[1],
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    try:
        answer = client.invoke(FunctionName="function", Payload=b'{"a": 1}')
        assert json.loads(answer["Payload"].read()) == {"event": {"a": 1}}
        failed = client.invoke(FunctionName="function", Payload=b'{"do": "unencodable"}')
        assert failed["FunctionError"]
        assert json.loads(failed["Payload"].read())["errorType"] == "Runtime.MarshalError"
    finally:
        client.close()


def test_run_says_why_a_function_does_not_start(run: Commands) -> None:
    server = run("run", "tasks.mein", "--port", "0")

    assert server.finish() == 1
    assert "Did you mean 'main'?" in server.err
    assert server.err.endswith("lmi run: the runtime ended with exit code 1\n")
    assert "Traceback" not in server.err


def test_run_says_when_its_port_is_taken(run: Commands) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])

        server = run("run", "tasks.main", "--port", port)

        assert server.finish() == 2
        assert server.err == f"lmi: Port {port} is taken. Choose another with --port.\n"


def test_invoke_says_when_nobody_listens(run: Commands) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # taken, and not listened to
        endpoint = f"127.0.0.1:{silent.getsockname()[1]}"

        call = run("invoke", "--endpoint", endpoint)

        assert call.finish() == 2
        assert call.err.startswith(f"lmi: Nobody answers at {endpoint} (")
        assert call.err.endswith("Start `lmi run` first.\n")


def test_load_prints_a_table(run: Commands) -> None:
    load = run("load", "tasks.main", "--seconds", "0.5", *SMALL)

    assert load.finish() == 0
    table = dict(re.findall(r"│ (\S[^│]*?) +│ +([^│]*?) │", load.out))
    # A machine with much to do may measure for longer.
    assert re.search(r"tasks\.main: 2 callers, 2 slots, \d+\.\d s\b", load.out)
    assert int(table["answered"].replace(",", "")) > 0
    assert (table["refused"], table["failures"]) == ("0", "0")
    assert table["processes"] == "2"
    assert table["error lines in the log"] == "0"


def test_load_prints_json_and_fails_when_calls_do(run: Commands) -> None:
    event = '{"do": "fail", "raise": "ValueError"}'

    load = run("load", "tasks.main", "--seconds", "0.3", "--json", "--event", event, *SMALL)

    assert load.finish() == 1
    report = json.loads(load.out)
    assert report["failures"] == {"Function.ValueError": report["requests"]}
    assert report["ok"] == 0
    assert report["runtime"]["processes"] == 2


def test_load_says_why_a_function_does_not_start(run: Commands) -> None:
    load = run("load", "raises.main", "--seconds", "1")

    assert load.finish() == 2
    assert "no such luck" in load.err
    assert load.err.endswith("lmi: The runtime ended with exit code 1; see above.\n")


def test_load_says_when_the_runtime_did_not_survive_it(run: Commands) -> None:
    load = run("load", "tasks.main", "--seconds", "0.5", "--event", '{"do": "kill_all"}', *SMALL)

    assert load.finish() == 1
    assert "Runtime.ExitError" in load.out
    assert load.err.endswith("lmi load: the runtime ended under load with exit code -9\n")


def test_load_can_be_interrupted(run: Commands) -> None:
    load = run("load", "tasks.main", "--seconds", "60", "--logs", *SMALL)
    load.wait_for(r"(imported by)")

    load.process.send_signal(signal.SIGINT)

    assert load.finish() == 130
    assert "Traceback" not in load.err


@pytest.mark.parametrize("missing", ["rich", "psutil"])
def test_load_says_which_package_it_lacks(run: Commands, missing: str) -> None:
    block = f"import sys; sys.modules[{missing!r}] = None; from lmi_runtime.cli import main; "

    load = run("load", "tasks.main", program=[sys.executable, "-c", block + "sys.exit(main())"])

    assert load.finish() == 2
    assert load.err == f"lmi: `lmi load` needs {missing}: pip install 'lmi_runtime[cli]'\n"


def test_run_needs_no_optional_package(run: Commands) -> None:
    block = "import sys; sys.modules.update(rich=None, psutil=None, uvloop=None, orjson=None); "
    program = [sys.executable, "-c", block + "from lmi_runtime.cli import main; sys.exit(main())"]

    server = run("run", "tasks.main", "--port", "0", *SMALL, program=program)

    server.wait_for(r"(Serving tasks\.main)")


def test_the_module_says_what_it_is_for_outside_lambda(run: Commands) -> None:
    module = run("tasks.main", program=[sys.executable, "-m", "lmi_runtime"])

    assert module.finish() == 2
    assert module.err.startswith("AWS_LAMBDA_RUNTIME_API is not set: there is nothing to poll.")
    assert "`lmi run`" in module.err


def test_run_in_lambda_is_the_entry_point(run: Commands) -> None:
    """The same command is an image's ENTRYPOINT: there it polls and starts no environment."""
    server = run("run", "nothing.main", AWS_LAMBDA_RUNTIME_API="127.0.0.1:9")

    assert server.finish() == 1
    assert "Unable to import module 'nothing'" in server.err
    assert "Serving" not in server.err


def test_help_names_every_command(run: Commands) -> None:
    told = run("--help")

    assert told.finish() == 0
    for command in ("run", "invoke", "load"):
        assert f"\n    {command} " in told.out
