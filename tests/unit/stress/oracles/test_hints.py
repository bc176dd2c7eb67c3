"""Each kind of fault has a mend, in one sentence."""

from __future__ import annotations

import pytest

from lmi_runtime.stress.oracles.hints import HINTS, hint


@pytest.mark.parametrize("kind", sorted(HINTS))
def test_a_hint_is_a_sentence(kind: str) -> None:
    text = hint(kind)

    assert text[0].isupper() and text.endswith(".")
    assert len(text) < 200


def test_a_kind_without_its_own_hint_has_that_of_its_oracle() -> None:
    assert hint("deadlock.unheard-of") == hint("deadlock")
    assert hint("unheard-of") == ""
