"""`lmi_runtime.stress` has everything under one name, and loads it when it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import lmi_runtime.stress
from tests.support.repository import REPOSITORY


def python(code: str, *path: Path) -> str:
    """Run the code in a process of its own; `path` comes first on the import path."""
    places = f"import sys; sys.path[:0] = {[*map(str, path), str(REPOSITORY)]!r}\n"
    done = subprocess.run(
        [sys.executable, "-c", places + code], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr.rpartition("\n\n")[2]


@pytest.mark.parametrize("name", lmi_runtime.stress.__all__)
def test_every_name_is_there_and_documented(name: str) -> None:
    thing = getattr(lmi_runtime.stress, name)

    assert thing.__doc__
    assert name in dir(lmi_runtime.stress)


def test_names_are_sorted_and_each_has_a_home() -> None:
    assert list(lmi_runtime.stress.__all__) == sorted(lmi_runtime.stress._HOME)


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match=r"'lmi_runtime\.stress' has no attribute 'nothing'"):
        _ = lmi_runtime.stress.nothing


def test_declaring_a_test_loads_neither_the_scheduler_nor_hypothesis() -> None:
    said = python(
        "from lmi_runtime.stress import StressFailure, reproduce_failure, stress_test\n"
        "print(sorted({'hypothesis', 'rich', 'pytest', 'lmi_runtime.stress.control'}"
        " & set(sys.modules)))"
    )

    assert said == "[]\n"


def test_the_function_wins_over_any_module_of_its_name() -> None:
    said = python(
        "import lmi_runtime.bootstrap.stressing\n"
        "from lmi_runtime.stress import explore\n"
        "print(callable(explore))"
    )

    assert said == "True\n"


def test_a_missing_extra_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "hypothesis.py").write_text(
        "raise ModuleNotFoundError('No module named hypothesis', name='hypothesis')"
    )

    said = python("from lmi_runtime.stress import events", tmp_path)

    assert said.endswith(
        "ImportError: lmi_runtime.stress.events needs hypothesis: "
        "pip install 'lmi_runtime[stress]'\n"
    )
