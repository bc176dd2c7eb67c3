"""What the decorators say of a test, and what pytest gets to see of it."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import pytest

from lmi_runtime.stress.declare import declared, reproduce_failure, stress_test, token_of

APP = ModuleType("app")


def test_pytest_sees_the_fixtures_and_not_the_module() -> None:
    @stress_test("app.handler")
    def test(module: ModuleType, tmp_path: Any, monkeypatch: Any) -> None: ...

    assert list(inspect.signature(test).parameters) == ["tmp_path", "monkeypatch"]
    assert test.__name__ == "test"


def test_body_gets_the_module_and_its_fixtures() -> None:
    seen: list[Any] = []

    @stress_test("app.handler")
    def test(self: Any, module: ModuleType, number: int) -> bool:
        seen.append((self, module, number))
        return False

    declaration = declared(test)
    assert declaration is not None
    assert declaration.invariant(["instance"], {"number": 1})(APP) is False
    assert seen == [("instance", APP, 1)]


def test_body_need_not_ask_for_the_module() -> None:
    @stress_test("app.handler")
    def test() -> str:
        return "called"

    declaration = declared(test)
    assert declaration is not None
    assert declaration.invariant((), {})(APP) == "called"
    assert declaration.invariant((), {}).__name__ == "test"


def test_only_what_is_given_is_an_option() -> None:
    """What is left out is for `StressOptions` to know."""

    @stress_test("app.handler", budget_s=1.0, ignore=["leak"], include=["shop"])
    def test() -> None: ...

    declaration = declared(test)
    assert declaration is not None
    assert declaration.options["budget_s"] == 1.0
    assert declaration.options["ignore"] == frozenset({"leak"})
    assert declaration.options["include"] == ("shop",)
    assert not {"seed", "schedules", "preemptions"} & set(declaration.options)


def test_a_test_without_the_plugin_never_passes() -> None:
    @stress_test("app.handler")
    def test(module: ModuleType) -> None: ...

    with pytest.raises(RuntimeError, match=r"-p lmi_runtime\.pytest_plugin"):
        test()


def test_a_body_cannot_be_a_coroutine_function() -> None:
    with pytest.raises(TypeError, match="write it as a plain function"):

        @stress_test("app.handler")
        async def test() -> None: ...


def test_decorators_without_parentheses_are_told() -> None:
    with pytest.raises(TypeError, match=r'name the handler: @stress_test\("app\.handler"\)'):

        @stress_test  # type: ignore[arg-type]
        def test() -> None: ...

    with pytest.raises(TypeError, match="give the token"):

        @reproduce_failure  # type: ignore[arg-type]
        def test2() -> None: ...


def test_a_token_is_found_above_and_below_the_other_decorator() -> None:
    @reproduce_failure("lmi1.above")
    @stress_test("app.handler")
    def above() -> None: ...

    @stress_test("app.handler")
    @reproduce_failure("lmi1.below")
    def below() -> None: ...

    assert (token_of(above), token_of(below)) == ("lmi1.above", "lmi1.below")
    assert token_of(len) is None
