"""Init, extensions, the end of the process, and the platform's shutdown."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.wire.client import NEXT, Connection, Response, Wire, post_path
from tests.contract.wire.environments import Start
from tests.support.patience import PATIENCE_S

INIT_ERROR = "/2018-06-01/runtime/init/error"
REGISTER = "/2020-01-01/extension/register"
EVENT_NEXT = "/2020-01-01/extension/event/next"
SECOND_INIT_ERROR = (
    b'{"errorMessage":"State transition from InitError to InitError failed for runtime. '
    b'Error: state transition is not allowed","errorType":"InvalidStateTransition"}\n'
)
# Runs until somebody creates its file: a runtime process whose end a test decides.
EXITS_ON_DEMAND = """
import os, time
while not os.path.exists({path!r}):
    time.sleep(0.005)
os._exit({code})
"""
IGNORES_SIGTERM = """
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: open({path!r}, "w").close())
open({path!r} + ".ready", "w").close()
while True:
    time.sleep(60)
"""


@pytest.fixture
def flag() -> Iterator[Path]:
    """A path that the runtime process, another user, can see and create."""
    folder = Path("/tmp") / f"lmi-wire-{uuid.uuid4()}"
    folder.mkdir(mode=0o700)
    folder.chmod(0o777)
    yield folder / "flag"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def register(wire: Wire, name: str = "internal", body: bytes = b'{"events":[]}') -> Response:
    return wire.request("POST", REGISTER, body, headers={"Lambda-Extension-Name": name})


def wait_for_event(wire: Wire, registered: Response) -> Connection:
    identifier = registered.headers["lambda-extension-identifier"]
    connection = wire.connect()
    connection.send("GET", EVENT_NEXT, headers={"Lambda-Extension-Identifier": identifier})
    wire.settle()
    return connection


# ------------------------------------------------------------------------ init errors


def test_first_init_error_is_accepted_and_the_second_forbidden(wire: Wire) -> None:
    first = wire.request("POST", INIT_ERROR, b"{}")
    second = wire.request("POST", INIT_ERROR, b"{}")

    assert (first.status, first.body) == (202, b'{"status":"OK"}\n')
    assert (second.status, second.body) == (403, SECOND_INIT_ERROR)


def test_body_of_an_init_error_is_not_looked_at(wire: Wire) -> None:
    assert wire.request("POST", INIT_ERROR, b"\xff not json").status == 202


def test_init_error_after_the_first_poll_is_accepted_and_changes_nothing(wire: Wire) -> None:
    delivery = wire.deliver()

    assert wire.request("POST", INIT_ERROR, b"{}").status == 202
    assert wire.post("response", delivery.request_id, b"fine").status == 202
    assert delivery.caller.expect().body == b"fine"


@pytest.mark.parametrize("code", [0, 1])
def test_callers_get_the_posted_init_error_type_when_the_process_exits(
    start: Start, flag: Path, code: int
) -> None:
    wire = start(program=EXITS_ON_DEMAND.format(path=str(flag), code=code))
    caller = wire.call()
    wire.settle()
    head = {"Lambda-Runtime-Function-Error-Type": "Runtime.ImportModuleError"}
    wire.request("POST", INIT_ERROR, b"{}", headers=head)

    flag.touch()
    answer = caller.expect()

    assert (answer.status, answer.error_type) == (200, "Runtime.ImportModuleError")
    assert answer.body == b'{"errorType":"Runtime.ImportModuleError"}'


def test_callers_get_exit_error_when_the_process_exits_without_a_word(
    start: Start, flag: Path
) -> None:
    wire = start(program=EXITS_ON_DEMAND.format(path=str(flag), code=0))
    caller = wire.call()
    wire.settle()

    flag.touch()

    assert caller.expect().error_type == "Runtime.ExitError"


def test_callers_are_told_when_init_takes_too_long(start: Start) -> None:
    wire = start(timeout_s=1)
    caller = wire.call()
    wire.settle()
    wire.let_time_out()
    answer = caller.expect()

    assert (answer.status, answer.error_type) == (200, "Sandbox.Timedout")


# ------------------------------------------------------------------------ end of the process


@pytest.mark.parametrize("code", [0, 1])
def test_exit_of_the_process_answers_everybody_in_flight_and_ends_idle_polls(
    start: Start, flag: Path, code: int
) -> None:
    wire = start(program=EXITS_ON_DEMAND.format(path=str(flag), code=code))
    deliveries = [wire.deliver(), wire.deliver()]
    poll = wire.poll()

    flag.touch()
    answers = [delivery.caller.expect() for delivery in deliveries]

    assert [(a.status, a.error_type) for a in answers] == [(200, "Runtime.ExitError")] * 2
    assert poll.receive("GET") is None


# ------------------------------------------------------------------------ extensions


def test_extension_gets_an_identifier(wire: Wire) -> None:
    registered = register(wire)

    assert registered.status == 200
    assert uuid.UUID(registered.headers["lambda-extension-identifier"])
    assert {"functionName", "functionVersion", "handler"} <= set(registered.json())


@pytest.mark.parametrize(
    ("name", "body", "error_type"),
    [
        ("", b'{"events":[]}', "Extension.InvalidExtensionName"),
        ("internal", b'{"events":["SHUTDOWN"]}', "Extension.InvalidEventType"),
        ("internal", b"{", "InvalidRequestFormat"),
    ],
)
def test_wrong_registration_is_forbidden(
    wire: Wire, name: str, body: bytes, error_type: str
) -> None:
    refused = register(wire, name, body)

    assert (refused.status, refused.json()["errorType"]) == (403, error_type)


def test_name_cannot_be_registered_twice(wire: Wire) -> None:
    register(wire, "twin")
    refused = register(wire, "twin")

    assert (refused.status, refused.json()["errorType"]) == (403, "Extension.InvalidExtensionState")


def test_registration_closes_with_the_first_poll(wire: Wire) -> None:
    wire.deliver()
    refused = register(wire)

    assert (refused.status, refused.json()["errorType"]) == (403, "Extension.RegistrationClosed")


@pytest.mark.parametrize(
    ("identifier", "error_type"),
    [
        (None, "Extension.MissingExtensionIdentifier"),
        ("not-a-uuid", "Extension.InvalidExtensionIdentifier"),
        ("00000000-0000-4000-8000-000000000000", "Extension.UnknownExtensionIdentifier"),
    ],
)
def test_wrong_identifier_is_forbidden(wire: Wire, identifier: str | None, error_type: str) -> None:
    head = {} if identifier is None else {"Lambda-Extension-Identifier": identifier}
    refused = wire.request("GET", EVENT_NEXT, headers=head)

    assert (refused.status, refused.json()["errorType"]) == (403, error_type)


def test_environment_is_ready_only_when_its_extension_waits_for_an_event(wire: Wire) -> None:
    registered = register(wire)
    poll = wire.connect().send("GET", NEXT)
    caller = wire.call(b"patience")
    wire.settle()

    wait_for_event(wire, registered)

    assert poll.expect().body == b"patience"
    assert caller


def test_extension_that_never_waits_keeps_the_environment_from_starting(start: Start) -> None:
    wire = start(timeout_s=1)
    register(wire)
    wire.connect().send("GET", NEXT)
    caller = wire.call()
    wire.settle()
    wire.let_time_out()

    assert caller.expect().error_type in ("Sandbox.Timedout", "Extension.ReadyFailed")


# ------------------------------------------------------------------------ shutdown


def in_grace(start: Start, flag: Path) -> Wire:
    """An environment that ends, whose runtime has asked for SIGTERM and ignores it."""
    wire = start(program=IGNORES_SIGTERM.format(path=str(flag)))
    wait_for_file(flag.with_name("flag.ready"))
    wait_for_event(wire, register(wire))
    return wire


def wait_for_file(path: Path) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < deadline_s, f"{path} has not appeared"
        time.sleep(0.002)


def test_shutdown_aborts_what_runs(wire: Wire) -> None:
    delivery = wire.deliver()

    wire.begin_shutdown()
    answer = delivery.caller.expect()

    assert (answer.status, answer.error_type) == (400, "Client.ExecutionEnvironmentShutDown")
    assert answer.body == b'{"errorType":"Client.ExecutionEnvironmentShutDown"}'


def test_sigterm_comes_if_an_extension_has_registered(start: Start, flag: Path) -> None:
    wire = in_grace(start, flag)
    poll = wire.poll()

    wire.begin_shutdown()

    wait_for_file(flag)
    assert poll.receive("GET") is None


def test_sigterm_does_not_come_without_an_extension(start: Start, flag: Path) -> None:
    wire = start(program=IGNORES_SIGTERM.format(path=str(flag)))
    wait_for_file(flag.with_name("flag.ready"))
    poll = wire.poll()

    wire.begin_shutdown()

    assert poll.receive("GET") is None
    assert not flag.exists()


def test_posts_for_aborted_invocations_are_refused_in_the_grace_time(
    start: Start, flag: Path
) -> None:
    wire = in_grace(start, flag)
    delivery = wire.deliver()
    wire.begin_shutdown()
    assert delivery.caller.expect().status == 400

    refused = wire.post("response", delivery.request_id, invocation_id=delivery.invocation_id)

    assert (refused.status, refused.json()["errorType"]) == (400, "InvalidRequestID")


def test_upload_begun_before_the_shutdown_may_finish(start: Start, flag: Path) -> None:
    wire = in_grace(start, flag)
    aborted, uploading = wire.deliver(), wire.deliver()
    head = {"Content-Length": "3"}
    path = post_path("response", uploading.request_id)
    upload = wire.connect().send("POST", path, b"1", headers=head)
    wire.settle()
    wire.begin_shutdown()
    assert aborted.caller.expect().status == 400

    assert upload.send_raw(b"23").expect().status == 202
    assert uploading.caller.expect().body == b"123"


def test_new_calls_are_refused_in_the_grace_time(start: Start, flag: Path) -> None:
    wire = in_grace(start, flag)
    delivery = wire.deliver()
    wire.poll()
    early = wire.connect_caller()
    wire.begin_shutdown()
    assert delivery.caller.expect().status == 400

    early.send("POST", "/2015-03-31/functions/function/invocations", b"{}")
    refused = early.expect()

    assert refused.status == 400
    assert refused.error_type == "Client.ExecutionEnvironmentUnhealthy"
