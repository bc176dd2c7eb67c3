"""What is said of a finished run, from results, texts and state made by hand."""

from __future__ import annotations

from types import ModuleType

import pytest

from lmi_runtime.stress.oracles.canary import CanarySet
from lmi_runtime.stress.program import Ended
from lmi_runtime.stress.subject.judging import (
    Texts,
    check_invariant,
    holder_of,
    leak_complaint,
    leaks_between_tenants,
    leaks_in_result,
    plain,
    unsound,
)
from lmi_runtime.stress.world import Tree, canonical

TOKENS = CanarySet(2).by_invocation()
MINE, YOURS = TOKENS[1], TOKENS[2]


def _state(**values: object) -> dict[str, Tree]:
    return {f"app.{name}": canonical(value) for name, value in values.items()}


# ---------------------------------------------------------------------- results and output


def test_a_result_with_tokens_of_its_own_is_right() -> None:
    assert leaks_in_result(TOKENS, 1, Ended({"user": MINE.text, "id": MINE.request_id})) == []


def test_a_result_with_a_token_of_another_is_a_leak() -> None:
    (leak,) = leaks_in_result(TOKENS, 1, Ended({"user": YOURS.text}))
    complaint = leak_complaint(1, leak, "")
    assert complaint.oracle == "isolation"
    assert complaint.sentence.startswith(
        "the result['user'] of invocation 1 contains the text of invocation 2"
    )
    assert complaint.hint


def test_an_error_is_looked_into_instead_of_the_result() -> None:
    (leak,) = leaks_in_result(TOKENS, 1, Ended(error=ValueError(YOURS.tenant_id)))
    assert leak.path.startswith("error")
    assert leak.kind == "tenant id"


def test_lines_of_output_are_judged_by_who_wrote_them() -> None:
    texts = Texts(TOKENS)
    lines = f"all is well\nserved {YOURS.request_id}\n"
    assert list(texts.leaks(2, lines)) == []
    (leak,) = texts.leaks(1, lines)
    assert (leak.owner, leak.kind) == (2, "request id")
    assert "what invocation 1 wrote contains" in leak_complaint(1, leak, "").sentence


def test_output_that_was_seen_before_is_judged_alike() -> None:
    texts = Texts(TOKENS)
    assert list(texts.leaks(1, YOURS.text)) == list(texts.leaks(1, YOURS.text)) != []


@pytest.mark.parametrize("token", [YOURS.text, YOURS.tenant_id, YOURS.request_id])
def test_a_key_holds_no_token(token: str) -> None:
    (leak,) = leaks_in_result(TOKENS, 1, Ended({token: token}))[:1]
    found = leak_complaint(1, leak, "").object_path
    assert token not in found
    assert plain(found) == found


def test_keys_are_the_same_whichever_invocations_remain() -> None:
    many = CanarySet(5).by_invocation()
    few = leaks_in_result(TOKENS, 1, Ended([YOURS.text]))[0]
    more = leaks_in_result(many, 4, Ended([many[5].text]))[0]
    assert leak_complaint(1, few, "").key == leak_complaint(4, more, "").key


# ---------------------------------------------------------------------- state


def test_a_holder_is_named_and_gives_the_key() -> None:
    holder = holder_of(_state(COUNT=3, CURRENT=YOURS.text), YOURS, "text")
    assert holder == "app.CURRENT"
    (leak,) = leaks_in_result(TOKENS, 1, Ended(YOURS.text))
    complaint = leak_complaint(1, leak, holder)
    assert complaint.key == ("isolation", "app.CURRENT")
    assert ", and app.CURRENT holds it" in complaint.sentence


def test_a_container_is_named_as_a_whole() -> None:
    assert holder_of(_state(LAST=[{"who": YOURS.text}]), YOURS, "text") == "app.LAST"


def test_what_is_under_a_key_of_its_owner_is_kept_well() -> None:
    kept = {YOURS.tenant_id: YOURS.text}
    assert holder_of(_state(CACHE=kept), YOURS, "text") == ""
    assert holder_of(_state(CACHE=kept, LAST=YOURS.text), YOURS, "text") == "app.LAST"


def test_only_the_kind_that_leaked_has_a_holder() -> None:
    assert holder_of(_state(LAST=YOURS.request_id), YOURS, "text") == ""


def test_a_cache_under_the_wrong_tenant_is_a_leak() -> None:
    state = _state(CACHE={MINE.tenant_id: {"name": YOURS.text}})
    (complaint,) = leaks_between_tenants(state, TOKENS)
    assert complaint.key == ("isolation", "app.CACHE")
    assert "under the tenant of invocation 1 what belongs to invocation 2" in complaint.sentence


@pytest.mark.parametrize(
    "cache",
    [
        {MINE.tenant_id: MINE.text, YOURS.tenant_id: YOURS.text},
        {"all": YOURS.text},
        {(MINE.tenant_id, YOURS.tenant_id): YOURS.text},
    ],
    ids=["one each", "of nobody", "of both"],
)
def test_a_cache_that_is_right(cache: object) -> None:
    assert list(leaks_between_tenants(_state(CACHE=cache), TOKENS)) == []


# ---------------------------------------------------------------------- invariants


def test_an_invariant_that_holds_says_nothing() -> None:
    assert check_invariant(lambda _: None, ModuleType("app")) == []
    assert check_invariant(lambda _: True, ModuleType("app")) == []


def test_an_invariant_that_is_false() -> None:
    def balanced(_module: ModuleType) -> bool:
        return False

    (complaint,) = check_invariant(balanced, ModuleType("app"))
    assert complaint.sentence == "balanced does not hold"
    assert complaint.key == ("invariant", "balanced")


def test_an_invariant_that_raises_keeps_its_first_line_and_its_stack() -> None:
    def balanced(_module: ModuleType) -> None:
        raise AssertionError("3 != 4\nand more")

    (complaint,) = check_invariant(balanced, ModuleType("app"))
    assert complaint.sentence == "balanced does not hold: 3 != 4"
    assert "balanced" in complaint.traceback


# ---------------------------------------------------------------------- cancellation


def test_what_a_cancelled_invocation_left_is_named() -> None:
    rest, now = _state(BUSY=set(), SEEN=0), _state(BUSY={1}, SEEN=7)
    (complaint,) = unsound(rest, now, [2])
    assert complaint.key == ("deadline", "app.BUSY")
    assert complaint.sentence == (
        "invocation 2 was cancelled, and left app.BUSY as {1}; "
        "invocations that end leave it as set()"
    )


def test_a_cancelled_invocation_that_cleans_up() -> None:
    rest = _state(BUSY=set())
    assert list(unsound(rest, rest, [1])) == []
    assert list(unsound(rest, {}, [1])) == []
