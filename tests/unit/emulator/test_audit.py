"""Which client behaviour is a violation, and which only looks like one."""

from __future__ import annotations

import pytest

from lmi_runtime.emulator.audit import Audit


def rules(audit: Audit) -> list[str]:
    return [violation.rule for violation in audit.violations]


@pytest.fixture
def audit() -> Audit:
    return Audit(max_polls=2)


def test_correct_client_leaves_no_trace(audit: Audit) -> None:
    audit.polled(2)
    audit.delivered("r", "i")
    audit.posted("r", "i")
    audit.released("r", "i")

    assert audit.violations == ()


def test_one_poll_too_many(audit: Audit) -> None:
    audit.polled(3)

    assert rules(audit) == ["too-many-polls"]


def test_abandoned_poll(audit: Audit) -> None:
    audit.abandoned()

    assert rules(audit) == ["abandoned-poll"]


def test_delivery_without_an_answer(audit: Audit) -> None:
    audit.delivered("r", "i")

    assert [str(v) for v in audit.violations] == ["unanswered-delivery: request r has no answer"]


def test_second_post(audit: Audit) -> None:
    audit.delivered("r", "i")
    audit.posted("r", "i")
    audit.released("r", "i")
    audit.posted("r", "i")

    assert rules(audit) == ["second-post"]


def test_one_late_post_is_legal_and_two_are_not(audit: Audit) -> None:
    audit.delivered("r", "i")
    audit.released("r", "i")
    audit.posted("r", "i")
    assert audit.violations == ()

    audit.posted("r", "i")
    assert rules(audit) == ["second-post"]


def test_late_post_for_an_earlier_delivery_of_a_reused_id_is_legal(audit: Audit) -> None:
    audit.delivered("r", "old")
    audit.released("r", "old")
    audit.delivered("r", "new")
    audit.posted("r", "old")
    audit.posted("r", "new")
    audit.released("r", "new")

    assert audit.violations == ()


def test_invocation_id_nobody_has_sent(audit: Audit) -> None:
    audit.delivered("r", "i")
    audit.posted("r", "made-up")
    audit.posted("r", "i")
    audit.released("r", "i")

    assert rules(audit) == ["wrong-invocation-id"]


def test_missing_invocation_id(audit: Audit) -> None:
    audit.delivered("r", "i")
    audit.posted("r", "")
    audit.released("r", "i")

    assert rules(audit) == ["missing-invocation-id"]


def test_missing_invocation_id_is_right_when_none_was_sent() -> None:
    audit = Audit(max_polls=1, ids_are_sent=False)
    audit.delivered("r", "i")
    audit.posted("r", "")
    audit.released("r", "i")

    assert audit.violations == ()


def test_retry_after_a_withheld_reply_is_legal(audit: Audit) -> None:
    audit.delivered("r", "i")
    audit.posted("r", "i")
    audit.forgive("i")
    audit.released("r", "i")
    audit.posted("r", "i")

    assert audit.violations == ()


def test_illegal_response_mode(audit: Audit) -> None:
    audit.illegal_mode("r", "buffered")

    assert rules(audit) == ["illegal-response-mode"]


def test_memory_is_bounded(audit: Audit) -> None:
    for n in range(20_000):
        audit.delivered("r", str(n))
        audit.abandoned()

    assert len(audit._posted) == 10_000
    assert len(audit.violations) == 1_001
