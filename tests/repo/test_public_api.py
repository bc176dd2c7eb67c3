"""What users can import is named once, documented, and on the reference page."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import lmi_runtime
from tests.support.repository import REPOSITORY


def public_names() -> list[str]:
    """Everything exported but the version."""
    return [name for name in getattr(lmi_runtime, "__all__", ()) if not name.startswith("__")]


def own_methods(owner: type) -> Iterator[tuple[str, object]]:
    for name, member in vars(owner).items():
        if not name.startswith("_") and (inspect.isroutine(member) or isinstance(member, property)):
            yield f"{owner.__name__}.{name}", member


def test_every_export_exists_and_is_listed_once() -> None:
    names = list(getattr(lmi_runtime, "__all__", ()))

    assert [name for name in names if not hasattr(lmi_runtime, name)] == []
    assert len(names) == len(set(names))


def test_every_public_class_and_function_has_a_docstring() -> None:
    undocumented = [
        name
        for name in public_names()
        if callable(thing := getattr(lmi_runtime, name)) and not inspect.getdoc(thing)
    ]

    assert undocumented == []


def test_every_method_of_a_public_class_has_a_docstring() -> None:
    classes = [t for name in public_names() if inspect.isclass(t := getattr(lmi_runtime, name))]

    undocumented = [
        label
        for owner in classes
        for label, member in own_methods(owner)
        if not inspect.getdoc(member)
    ]

    assert undocumented == []


def test_the_reference_page_shows_the_package() -> None:
    """mkdocstrings renders every documented export below this one line."""
    page = (REPOSITORY / "docs" / "pages" / "api.md").read_text()

    assert "::: lmi_runtime\n" in page
