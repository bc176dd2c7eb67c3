"""What the supervisor does in place of a worker that is no more."""

from __future__ import annotations

import pytest

from lmi_runtime.bootstrap import managed
from lmi_runtime.logs import SupervisorLog
from lmi_runtime.model import Failure, PostResult, PostVerdict, Settings
from lmi_runtime.supervisor import InFlight


class FakeApi:
    def __init__(self, *verdicts: PostVerdict) -> None:
        self.verdicts = list(verdicts)
        self.answered: list[tuple[str, str | None, str]] = []

    def fail(self, request_id: str, invocation_id: str | None, failure: Failure) -> PostResult:
        self.answered.append((request_id, invocation_id, failure.message))
        return PostResult(self.verdicts.pop(0))


def hooks(api: FakeApi) -> managed._Hooks:
    made = managed._Hooks(Settings(handler="a.b", runtime_api="127.0.0.1:1"), SupervisorLog())
    made._api = api  # type: ignore[assignment]
    return made


LOST = [InFlight("r1", "i1"), InFlight("r2", None)]


def test_everything_in_flight_is_answered_with_the_reason() -> None:
    api = FakeApi(PostVerdict.ACCEPTED, PostVerdict.STALE)
    hooks(api).answer_dead(LOST, "was killed")
    message = "The worker process was killed."
    assert api.answered == [("r1", "i1", message), ("r2", None, message)]


def test_a_platform_that_does_not_answer_is_not_waited_for_again() -> None:
    """Each try takes seconds, in which the supervisor hears no signal."""
    api = FakeApi(PostVerdict.LOST)
    hooks(api).answer_dead(LOST, "was killed")
    assert len(api.answered) == 1


def test_the_log_level_of_the_function_is_the_supervisors_too(
    capfd: pytest.CaptureFixture[str],
) -> None:
    made = hooks(FakeApi())
    made.log(10, "too much detail")
    made.log(30, "worth a line")
    assert "too much detail" not in (out := capfd.readouterr().out)
    assert "worth a line" in out
