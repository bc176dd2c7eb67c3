"""What the platform and the caller are told about an exception."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from awslambdaric.bootstrap import extract_traceback, make_xray_fault
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.errors import (
    HandlerSyntaxError,
    LmiError,
    MarshalError,
    NoActiveRequest,
    ResponseTooLarge,
    UnmarshalError,
)
from lmi_runtime.handlers.faults import (
    MAX_XRAY_CAUSE_BYTES,
    error_type_of,
    failure_of,
    init_failure_of,
    text_of,
)

FILTER = re.compile(r"(Runtime|Function)\.[A-Z][A-Za-z]+")


def raised(exc: BaseException) -> BaseException:
    """The same exception, with a traceback."""
    with pytest.raises(type(exc)) as caught:
        raise exc
    return caught.value


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ValueError", "Function.ValueError"),
        ("HTTP2Error", "Function.HTTP2Error"),  # the filter asks for "contains"
        ("Not_Found", "Function.Not_Found"),
        ("_Private", "Function.Private"),
        ("lowercase", "Function.Lowercase"),
        ("_Retry2Error", "Function.RetryError"),
        ("ÉtatError", "Function.EtatError"),
        ("Ошибка", "Function.Unknown"),
        ("E", "Function.Unknown"),
        ("E1", "Function.Unknown"),
        ("_", "Function.Unknown"),
    ],
)
def test_error_type_passes_the_platforms_filter(name: str, expected: str) -> None:
    assert error_type_of(name) == expected


@given(name=st.text(min_size=1))
def test_any_class_name_becomes_a_legal_header_value(name: str) -> None:
    """type() takes any string for a name, line breaks included."""
    error_type = error_type_of(name)
    assert FILTER.search(error_type)
    assert re.fullmatch(r"[A-Za-z0-9_.]+", error_type)


def test_stack_and_cause_are_awslambdarics() -> None:
    def deep() -> None:
        raise KeyError("käse")

    try:
        deep()
    except KeyError as caught:
        exc = caught
    frames = extract_traceback(exc.__traceback__)

    failure = failure_of(exc)

    assert failure.error_class == "KeyError"
    assert failure.message == "'käse'"
    assert [line.split("\n")[0] for line in failure.stack] == [
        f'  File "{path}", line {line}, in {name}' for path, line, name, _ in frames
    ]
    assert failure.xray_cause is not None
    assert json.loads(failure.xray_cause) == make_xray_fault(
        "KeyError", "'käse'", __import__("os").getcwd(), frames
    )
    assert failure.xray_cause.isascii()  # it travels in a header


def test_cause_of_64_kib_is_left_out() -> None:
    assert failure_of(ValueError("x" * 60_000)).xray_cause is not None
    assert failure_of(ValueError("x" * MAX_XRAY_CAUSE_BYTES)).xray_cause is None


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


class WrongText(Exception):
    def __str__(self) -> str:
        return 3  # type: ignore[return-value]


@pytest.mark.parametrize("kind", [Unprintable, WrongText])
def test_exception_whose_text_cannot_be_made(kind: type[Exception]) -> None:
    failure = failure_of(raised(kind()))
    assert failure.error_type == f"Function.{kind.__name__}"
    assert failure.message == f"<{kind.__name__} whose text cannot be made>"
    assert text_of(ValueError("fine")) == "fine"


@pytest.mark.parametrize(
    ("exc", "says"),
    [(SystemExit(3), "status 3"), (SystemExit("bye"), "status 'bye'"), (SystemExit(), "None")],
)
def test_system_exit_says_that_only_the_invocation_failed(exc: SystemExit, says: str) -> None:
    failure = failure_of(raised(exc))
    assert failure.error_type == "Function.SystemExit"
    assert says in failure.message
    assert "Only this invocation failed" in failure.message


def test_group_shows_what_is_inside() -> None:
    inner = ExceptionGroup("inner", [raised(KeyError("b")), raised(Unprintable())])
    group = raised(ExceptionGroup("outer", [raised(ValueError("a")), inner]))

    failure = failure_of(group)

    assert failure.error_class == "ExceptionGroup"
    assert failure.message == (
        "outer (2 sub-exceptions): ValueError: a; KeyError: 'b'; "
        "Unprintable: <Unprintable whose text cannot be made>"
    )
    text = "".join(failure.stack)
    assert text.index("Inside the group: ValueError: a") < text.index(
        "Inside the group: KeyError: 'b'"
    )
    assert failure.xray_cause is not None
    types = [part["type"] for part in json.loads(failure.xray_cause)["exceptions"]]
    assert types == ["ExceptionGroup", "ValueError", "KeyError", "Unprintable"]


def test_group_of_thousands_stays_readable() -> None:
    group = BaseExceptionGroup("many", [ValueError(str(i)) for i in range(5_000)])
    assert failure_of(group).message.count("ValueError") == 10


@pytest.mark.parametrize("kind", [MarshalError, UnmarshalError, ResponseTooLarge])
def test_faults_of_the_exchange_are_named_as_awslambdaric_names_them(
    kind: type[LmiError],
) -> None:
    failure = failure_of(raised(kind("words")))
    assert (failure.error_type, failure.error_class) == (kind.error_type, kind.error_type)
    assert (failure.message, failure.stack) == ("words", ())


def test_our_error_raised_from_user_code_keeps_its_type_and_stack() -> None:
    failure = failure_of(raised(NoActiveRequest("words")))
    assert failure.error_type == "Function.NoActiveRequest"
    assert failure.error_class == "NoActiveRequest"
    assert failure.stack


def test_users_own_subclass_of_our_root_is_named_by_its_class() -> None:
    class OrderError(LmiError):
        pass

    assert failure_of(OrderError()).error_type == "Function.OrderError"


def test_working_directory_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> str:
        raise FileNotFoundError

    monkeypatch.setattr("os.getcwd", gone)
    cause = failure_of(ValueError("x")).xray_cause
    assert cause is not None
    assert json.loads(cause)["working_directory"] == ""


def test_recursion_error_has_a_short_stack() -> None:
    def again() -> None:
        again()

    with pytest.raises(RecursionError) as caught:
        again()
    failure = failure_of(caught.value)
    assert any("repeated" in frame for frame in failure.stack)
    assert len(failure.stack) < 20


def test_init_failure_of_a_syntax_error_points_at_the_line() -> None:
    cause = SyntaxError("bad", ("app.py", 3, 1, "def (:\n"))
    fault: Any = HandlerSyntaxError("Syntax error in module 'app': bad")
    fault.__cause__ = cause
    assert init_failure_of(fault).stack == ('  File "app.py" Line 3\n    def (:\n',)


def test_init_failure_of_anything_else_is_its_failure() -> None:
    assert init_failure_of(ValueError("x")) == failure_of(ValueError("x"))
