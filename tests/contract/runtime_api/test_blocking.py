"""The supervisor's side: init errors, dead workers' answers, the extension."""

from __future__ import annotations

import json
import select

import pytest

from lmi_runtime.errors import ConfigurationError, RuntimeApiError
from lmi_runtime.model import Failure, PostVerdict
from lmi_runtime.rapi import BlockingRuntimeApi
from tests.contract.runtime_api.stub import ACCEPTED, Act, End, StubServer, answer, error
from tests.support.patience import PATIENCE_S

OK = answer(202, ACCEPTED)
EXIT = Failure("Runtime.ExitError", "ExitError", "The worker exited.")


@pytest.mark.parametrize("status", [202, 403])
def test_an_init_error_is_posted_once(status: int, caplog: pytest.LogCaptureFixture) -> None:
    """403 says that another process was first, which is as good."""
    with StubServer([answer(status), OK]) as server:
        api = BlockingRuntimeApi(server.address)
        api.post_init_error(EXIT)
        api.post_init_error(EXIT)

    (request,) = server.requests
    assert request.path == "/2018-06-01/runtime/init/error"
    assert request.headers["lambda-runtime-function-error-type"] == "Runtime.ExitError"
    assert json.loads(request.body)["errorType"] == "ExitError"
    assert not caplog.records


@pytest.mark.parametrize("act", [Act(answer(500)), Act(end=End.CLOSE), Act(end=End.RESET)])
def test_an_init_error_that_is_not_taken_is_only_logged(
    act: Act, caplog: pytest.LogCaptureFixture
) -> None:
    """The process exits next, whatever happens."""
    with StubServer([act]) as server:
        BlockingRuntimeApi(server.address).post_init_error(EXIT)
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("act", "verdict"),
    [
        (Act(OK), PostVerdict.ACCEPTED),
        (Act(error(400, "InvalidRequestID")), PostVerdict.STALE),
        (Act(error(410, "InvokeTimeout")), PostVerdict.STALE),
        (Act(error(500, "X")), PostVerdict.LOST),
        (Act(b"garbage\r\n\r\n"), PostVerdict.LOST),
        (Act(end=End.CLOSE), PostVerdict.LOST),
        (Act(OK[:-1], End.CLOSE), PostVerdict.LOST),
        (Act(end=End.RESET), PostVerdict.LOST),
        (Act(b"HTTP/1.1 202 OK\r\n\r\n{}", End.CLOSE), PostVerdict.ACCEPTED),
    ],
)
def test_a_dead_workers_invocation_is_answered_for_it(act: Act, verdict: PostVerdict) -> None:
    """One post, one verdict, no exception."""
    with StubServer([act, OK]) as server:
        result = BlockingRuntimeApi(server.address).fail("r-1", "i-1", EXIT)

    assert result.verdict is verdict
    (request,) = server.requests
    assert request.path == "/2018-06-01/runtime/invocation/r-1/error"
    assert request.headers["lambda-runtime-invocation-id"] == "i-1"


def test_an_error_refused_for_its_size_is_posted_short() -> None:
    """As the loop's client does."""
    with StubServer([error(413, "RequestEntityTooLarge", {"Connection": "close"}), OK]) as server:
        result = BlockingRuntimeApi(server.address).fail("r-1", None, EXIT)

    assert result.verdict is PostVerdict.ACCEPTED
    assert len(server.requests) == 2


def test_silence_ends_with_the_time_out() -> None:
    """A supervisor that waits for ever watches nothing."""
    with StubServer([Act(end=End.HOLD)]) as server:
        result = BlockingRuntimeApi(server.address, timeout_s=0.05).fail("r-1", None, EXIT)
    assert result.verdict is PostVerdict.LOST


def test_half_an_answer_ends_with_the_time_out_too() -> None:
    """What was said before the silence is not enough."""
    with StubServer([Act(OK[:-1], End.HOLD)]) as server:
        result = BlockingRuntimeApi(server.address, timeout_s=0.05).fail("r-1", None, EXIT)
    assert result.verdict is PostVerdict.LOST


def test_nobody_there_is_no_exception_either(unused_address: str) -> None:
    """Every call has its way to say that it failed."""
    api = BlockingRuntimeApi(unused_address)
    api.post_init_error(EXIT)
    assert api.fail("r-1", None, EXIT).verdict is PostVerdict.LOST
    assert api.register_extension("lmi") is None
    with pytest.raises(RuntimeApiError):
        api.open_event_poll("e-1")


def test_an_extension_registers_and_polls() -> None:
    """The poll's socket stays silent until the platform hangs up."""
    said = answer(200, b"{}", {"Lambda-Extension-Identifier": "e-1"})
    with StubServer([said, Act(end=End.HOLD)]) as server:
        api = BlockingRuntimeApi(server.address)
        extension_id = api.register_extension("lmi")
        assert extension_id == "e-1"
        with api.open_event_poll(extension_id) as poll:
            for _ in range(2):
                server.arrived.get(timeout=PATIENCE_S)
            assert not poll.getblocking()
            assert select.select([poll], [], [], 0)[0] == []
            server.hang_up()
            assert select.select([poll], [], [], PATIENCE_S)[0] == [poll]

    register, events = server.requests
    assert register.headers["lambda-extension-name"] == "lmi"
    assert json.loads(register.body) == {"events": []}
    assert events.path == "/2020-01-01/extension/event/next"
    assert events.headers["lambda-extension-identifier"] == "e-1"


def test_a_refused_extension_is_only_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """The function works without it; it will just get no SIGTERM."""
    with StubServer([error(403, "Extension.RegistrationClosed")]) as server:
        assert BlockingRuntimeApi(server.address).register_extension("lmi") is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("address", ["", "host", "host:", ":80", "h:0", "h:65536", "h:http", "h:²"])
def test_an_address_that_is_none_is_the_configurations_fault(address: str) -> None:
    """Found out at once, and named."""
    with pytest.raises(ConfigurationError, match="AWS_LAMBDA_RUNTIME_API"):
        BlockingRuntimeApi(address)
