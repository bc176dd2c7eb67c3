"""Frozen facts behave like the frozen dataclasses they stand for, and cost no start."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from typing import Any, Generic, TypeVar

import pytest

from lmi_runtime._facts import Facts

T = TypeVar("T")


class Ours(Facts, Generic[T], apart=("note",)):
    """A value, and more."""

    value: T
    ttl_s: float | None = None
    tags: tuple[str, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        if self.ttl_s == 0:
            raise ValueError("ttl_s is 0")

    @property
    def twice(self) -> Any:
        return (self.value, self.value)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Theirs(Generic[T]):
    """What it stands for."""

    value: T
    ttl_s: float | None = None
    tags: tuple[str, ...] = ()
    note: str = dataclasses.field(default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.ttl_s == 0:
            raise ValueError("ttl_s is 0")


class InOrder(Facts, kw_only=False):
    """May be made by position."""

    first: int
    second: int = 2


BOTH = pytest.mark.parametrize("kind", [Ours, Theirs])


@BOTH
def test_fields_hold_what_was_given_or_the_default(kind: Any) -> None:
    facts = kind(value=1, tags=("a",))
    assert (facts.value, facts.ttl_s, facts.tags, facts.note) == (1, None, ("a",), "")
    assert not hasattr(facts, "__dict__")


@BOTH
@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "missing 1 required keyword-only argument: 'value'"),
        ({"value": 1, "other": 2}, "unexpected keyword argument 'other'"),
        ({"ttl_s": 1, "other": 2}, "other"),
    ],
)
def test_wrong_arguments_are_refused_by_name(kind: Any, given: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        kind(**given)


@BOTH
def test_nothing_is_taken_by_position(kind: Any) -> None:
    with pytest.raises(TypeError, match="positional"):
        kind(1)


def test_what_says_so_is_taken_by_position() -> None:
    assert InOrder(1) == InOrder(first=1, second=2)
    assert InOrder(1, 3).second == 3
    for wrong in (lambda: InOrder(1, 2, 3), lambda: InOrder(1, first=1)):  # type: ignore[call-arg, misc]
        with pytest.raises(TypeError, match=r"positional|multiple values"):
            wrong()


@BOTH
def test_nothing_can_be_changed(kind: Any) -> None:
    facts = kind(value=1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'value'"):
        facts.value = 2
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'value'"):
        del facts.value
    assert facts.value == 1


@BOTH
def test_equal_facts_are_equal(kind: Any) -> None:
    one, same, other = kind(value=1, note="a"), kind(value=1, note="b"), kind(value=2)
    assert one == same and hash(one) == hash(same)
    assert one != other
    assert one != (1, None, ())


def test_different_kinds_are_never_equal() -> None:
    assert InOrder(1) != Ours(value=1)


@BOTH
def test_what_is_shown(kind: Any) -> None:
    shown = f"{kind.__name__}(value='x', ttl_s=None, tags=())"
    assert repr(kind(value="x", note="hidden")) == shown


@BOTH
def test_values_are_checked(kind: Any) -> None:
    with pytest.raises(ValueError, match="ttl_s is 0"):
        kind(value=1, ttl_s=0)
    with pytest.raises(ValueError, match="ttl_s is 0"):
        dataclasses.replace(kind(value=1), ttl_s=0)


@BOTH
def test_dataclasses_knows_them(kind: Any) -> None:
    facts = kind(value=[1], note="n")
    assert dataclasses.is_dataclass(kind) and dataclasses.is_dataclass(facts)
    assert [field.name for field in dataclasses.fields(kind)] == ["value", "ttl_s", "tags", "note"]
    assert dataclasses.asdict(facts) == {"value": [1], "ttl_s": None, "tags": (), "note": "n"}
    changed = dataclasses.replace(facts, ttl_s=5.0)
    assert (changed.value, changed.ttl_s, changed.note) == ([1], 5.0, "n")
    assert facts.ttl_s is None


def test_one_can_replace_another() -> None:
    changed = Ours(value=1, note="n").__replace__(value=2)
    assert (changed.value, changed.note) == (2, "n")


def test_signatures_are_the_same() -> None:
    assert str(inspect.signature(Ours)) == str(inspect.signature(Theirs))


def test_copies_are_equal() -> None:
    facts: Ours[list[int]] = Ours(value=[1], note="n")
    for copied in (copy.copy(facts), copy.deepcopy(facts), pickle.loads(pickle.dumps(facts))):
        assert copied == facts and copied.note == "n"
    assert copy.copy(facts).value is facts.value
    assert copy.deepcopy(facts).value is not facts.value


def test_classes_may_be_generic_and_have_more_than_fields() -> None:
    assert Ours[int](value=1).twice == (1, 1)
