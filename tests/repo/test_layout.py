"""What lies where, and what may not be written into any file."""

from __future__ import annotations

import re

import pytest

from tests.support.repository import PACKAGE, REPOSITORY, pyproject, tracked_files, tracked_texts

TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "docs",
    "lmi_runtime",
    "pyproject.toml",
    "scripts",
    "stress",
    "tests",
}

# Each in two halves, so that this file does not break its own rule.
LEAKS = re.compile(
    "|".join(
        [
            r"(?:^|[^a-z])/(?:wo" + r"rk|fa" + r"rm)/[a-z.]+",
            r"/tmp/" + r"w/",
            r"/root/" + r"\.",
            r"python" + r"hosted",
            r"npm" + r"js\.",
            r"\.deb" + r"ian\.",
            r"/sim" + r"ple/",
        ]
    ),
    re.MULTILINE,
)
FRAGMENT = re.compile(r"(?:\d+|\+[a-z0-9-]+)\.(?P<kind>[a-z]+)(?:\.\d+)?\.md")


def test_top_level_holds_only_what_was_agreed() -> None:
    assert {name.split("/")[0] for name in tracked_files()} <= TOP_LEVEL


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = {
        name: match.group().strip()
        for name, text in tracked_texts()
        if (match := LEAKS.search(text))
    }

    assert found == {}


@pytest.mark.parametrize(
    "text", ["in /wo" + "rk/main", "open('/fa" + "rm/x')", "https://files.python" + "hosted.org"]
)
def test_the_leak_rule_sees_leaks(text: str) -> None:
    assert LEAKS.search(text)


def test_every_change_note_has_a_name_towncrier_takes_and_says_something() -> None:
    folder = REPOSITORY / pyproject()["tool"]["towncrier"]["directory"]
    kinds = {kind["directory"] for kind in pyproject()["tool"]["towncrier"]["type"]}
    notes = [path for path in folder.iterdir() if path.name not in {"README.md", ".gitignore"}]

    misnamed = [
        path.name
        for path in notes
        if (match := FRAGMENT.fullmatch(path.name)) is None or match["kind"] not in kinds
    ]
    empty = [path.name for path in notes if not path.read_text().strip()]

    assert misnamed == []
    assert empty == []


def test_version_is_written_in_one_place() -> None:
    assert "version" in pyproject()["project"]["dynamic"]
    setters = [
        name
        for name, text in tracked_texts()
        if name.endswith(".py") and re.search(r"^__version__\s*(?::\s*\w+\s*)?=", text, re.M)
    ]

    assert setters == [pyproject()["tool"]["hatch"]["version"]["path"]]


def test_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_no_work_was_left_for_later() -> None:
    """An open end belongs into an issue; in a file nobody finds it again."""
    marks = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")

    found = [name for name, text in tracked_texts() if name != "LICENSE" and marks.search(text)]

    assert found == []
