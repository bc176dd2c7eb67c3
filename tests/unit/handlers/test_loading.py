"""A handler is found by awslambdaric's rules, and each fault says what to do."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from awslambdaric.bootstrap import _get_handler
from awslambdaric.lambda_runtime_exception import FaultException

from lmi_runtime.errors import (
    ConfigurationError,
    HandlerImportError,
    HandlerModuleRaised,
    HandlerNotFound,
    HandlerSignatureError,
)
from lmi_runtime.handlers import Style, init_failure_of, load
from lmi_runtime.model import EntryKind

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write modules into a task root of this test's own; returns the root."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    known = set(sys.modules)

    def write(**sources: str) -> str:
        for name, source in sources.items():
            path = tmp_path / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(source))
        return str(tmp_path)

    yield write
    for name in set(sys.modules) - known:
        del sys.modules[name]


def as_awslambdaric(name: str) -> FaultException:
    with pytest.raises(FaultException) as raised:
        _get_handler(name)
    fault: FaultException = raised.value
    return fault


def test_undecorated_handlers_get_the_default_for_their_kind(write: Write) -> None:
    root = write(
        lmi_kinds="""
        async def a(event, context): ...
        def s(event, context): ...
        async def stream(event, context): yield
        """
    )
    targets = [load(f"lmi_kinds.{name}", root) for name in ("a", "s", "stream")]

    assert [target.spec.concurrency for target in targets] == ["async", "process", "async"]
    assert [target.spec.style for target in targets] == [
        Style.COROUTINE,
        Style.FUNCTION,
        Style.ASYNC_STREAM,
    ]
    assert [target.spec.kind for target in targets] == [
        EntryKind.TASK,
        EntryKind.THREAD,
        EntryKind.TASK,
    ]
    assert sys.path[0] == root


def test_decorated_handler_brings_its_spec(write: Write) -> None:
    root = write(
        lmi_decorated="""
        from lmi_runtime.handlers import handler

        @handler(max_per_vcpu=3, concurrency="threads")
        def h(event, context): ...
        """
    )
    target = load("lmi_decorated.h", root)
    assert target.name == "lmi_decorated.h"
    assert (target.spec.max_per_vcpu, target.spec.concurrency) == (3, "threads")
    assert target.spec.function is target.handler.__wrapped__  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["lmi_pkg/inner/app.h", "lmi_pkg.inner.app.h"])
def test_module_path_with_slashes_or_dots(write: Write, name: str) -> None:
    root = write(lmi_pkg__inner__app="def h(event, context): return 'found'")
    assert load(name, root).handler({}, None) == "found"


def test_task_root_is_first_on_the_path_once(write: Write) -> None:
    root = write(lmi_twice="def h(event, context): ...")
    load("lmi_twice.h", root)
    load("lmi_twice.h", root)
    assert sys.path[0] == root
    assert sys.path.count(root) == 1


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("handler", "Write module.function"),
        ("", "Write module.function"),
        ("sys.exit", "Rename the file"),
        ("lmi_no_such_module.h", "No such module was found in "),
        ("lmi_no_pkg.inner.h", "No such module was found in "),
        ("lmi_missing.h", "Install it beside the function's code"),
        ("lmi_broken.h", "Check the versions"),
        ("lmi_syntax.h", "Syntax error in module"),
        ("lmi_there.hander", "Did you mean 'handler'?"),
        ("lmi_there.unlike", "missing on module"),
    ],
)
def test_faults_are_awslambdarics_and_say_what_to_do(write: Write, name: str, advice: str) -> None:
    root = write(
        lmi_missing="import lmi_not_installed",
        lmi_broken="from json import lmi_not_in_there",
        lmi_syntax="def (:",
        lmi_there="def handler(event, context): ...",
    )
    with pytest.raises(ConfigurationError) as raised:
        load(name, root)
    theirs = as_awslambdaric(name)

    assert raised.value.error_type == theirs.exception_type
    assert str(raised.value).startswith(theirs.msg)
    assert advice in str(raised.value)
    failure = init_failure_of(raised.value)
    assert failure.error_type == failure.error_class == theirs.exception_type
    if theirs.trace:
        assert list(failure.stack) == theirs.trace


@pytest.mark.parametrize(
    ("statement", "error_class", "error_type"),
    [
        ("raise ValueError('no database')", "ValueError", "Function.ValueError"),
        ("import sys; sys.exit(3)", "SystemExit", "Function.SystemExit"),
        ("raise BaseException('odd')", "BaseException", "Function.BaseException"),
        ("class _Own(Exception): ...\nraise _Own('x')", "_Own", "Function.Own"),
        ("1 / 0", "ZeroDivisionError", "Function.ZeroDivisionError"),
    ],
)
def test_module_that_raises(
    write: Write, statement: str, error_class: str, error_type: str
) -> None:
    root = write(lmi_raises=f"{statement}\n")
    with pytest.raises(HandlerModuleRaised, match=error_class) as raised:
        load("lmi_raises.h", root)

    failure = init_failure_of(raised.value)
    assert (failure.error_type, failure.error_class) == (error_type, error_class)
    # The import system's own frames are left out.
    assert len(failure.stack) == 1
    assert "lmi_raises.py" in failure.stack[0]


def test_exit_at_import_says_what_a_module_must_not_do(write: Write) -> None:
    root = write(lmi_exits="raise SystemExit(0)")
    with pytest.raises(HandlerModuleRaised, match="must not exit"):
        load("lmi_exits.h", root)


def test_keyboard_interrupt_at_import_is_the_users_own(write: Write) -> None:
    root = write(lmi_interrupted="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load("lmi_interrupted.h", root)


def test_error_whose_text_cannot_be_made_is_still_reported(write: Write) -> None:
    root = write(
        lmi_unprintable="""
        class Odd(Exception):
            def __str__(self): raise self
        raise Odd
        """
    )
    with pytest.raises(HandlerModuleRaised, match="text cannot be made"):
        load("lmi_unprintable.h", root)


def test_attribute_that_cannot_be_called(write: Write) -> None:
    root = write(lmi_constant="h = 3")
    with pytest.raises(HandlerNotFound, match="is of type int, which cannot be called"):
        load("lmi_constant.h", root)


def test_wrong_signature_is_found_at_load(write: Write) -> None:
    root = write(lmi_signature="def h(event, context, more): ...")
    with pytest.raises(HandlerSignatureError, match=r"h\(event, context, more\)"):
        load("lmi_signature.h", root)


def test_decorator_on_top_of_ours_is_refused_rather_than_skipped(write: Write) -> None:
    root = write(
        lmi_stacked="""
        import functools
        from lmi_runtime.handlers import handler

        def audited(function):
            @functools.wraps(function)
            def wrapper(event, context):
                return function(event, context)
            return wrapper

        @audited
        @handler
        async def wrong(event, context): ...

        @handler
        @audited
        async def right(event, context): ...
        """
    )
    with pytest.raises(ConfigurationError, match="Move @handler to the top"):
        load("lmi_stacked.wrong", root)
    assert load("lmi_stacked.right", root).spec.style is Style.COROUTINE


def test_import_error_is_chained(write: Write) -> None:
    root = write(lmi_chained="import lmi_not_installed")
    with pytest.raises(HandlerImportError) as raised:
        load("lmi_chained.h", root)
    assert isinstance(raised.value.__cause__, ModuleNotFoundError)
