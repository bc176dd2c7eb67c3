"""What travels between rooms does not change on the way."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from lmi_runtime import errors, model
from lmi_runtime.model import Failure, PostResult, PostVerdict, StreamFailed

FACTS = [value for value in vars(model).values() if dataclasses.is_dataclass(value)]
ERRORS = [value for value in vars(errors).values() if inspect.isclass(value)]


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_facts_are_frozen_and_have_no_room_for_more(fact: type) -> None:
    assert fact.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert not hasattr(fact, "__dict__") or "__slots__" in vars(fact)


def test_a_detail_does_not_make_another_result() -> None:
    assert PostResult(PostVerdict.STALE, "410") == PostResult(PostVerdict.STALE, "400")
    assert PostResult(PostVerdict.STALE) != PostResult(PostVerdict.LOST)


def test_a_stream_that_failed_says_how() -> None:
    failure = Failure("Function.ValueError", "ValueError", "midway")

    error = StreamFailed(failure)

    assert (str(error), error.failure) == ("midway", failure)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_has_the_root_and_a_type_the_platform_keeps(error: type) -> None:
    assert issubclass(error, errors.LmiError)
    assert error.__name__ in errors.__all__
    kind, dot, name = error.error_type.partition(".")  # type: ignore[attr-defined]
    assert (kind, dot) in {("Runtime", "."), ("Function", ".")}
    assert name[0].isupper()
    assert name[:2].isalpha()
