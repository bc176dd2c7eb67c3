"""What is watched: the user's own code, and packages named."""

from __future__ import annotations

import os
import queue
import sysconfig
from pathlib import Path
from types import CodeType

import pytest

import lmi_runtime.errors
from lmi_runtime.stress.watch.scope import Scope


def code_of(path: Path | str) -> CodeType:
    return compile("(lambda: [x for x in ()])", str(path), "eval")


def a_file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


def test_the_user_s_own_files_are_watched(tmp_path: Path) -> None:
    code = code_of(a_file(tmp_path / "app.py"))
    inner = next(c for c in code.co_consts if isinstance(c, CodeType))
    assert Scope().wants(code)
    assert Scope().wants(inner)


@pytest.mark.parametrize("name", ["<string>", "<frozen importlib._bootstrap>", "gone.py"])
def test_what_has_no_file_is_not(name: str) -> None:
    assert not Scope().wants(code_of(name))


def test_libraries_are_not(tmp_path: Path) -> None:
    scope = Scope()
    environment = tmp_path / ".venv" / "lib" / "python3.13" / "site-packages" / "six.py"
    assert not scope.wants(code_of(a_file(environment)))
    assert not scope.wants(code_of(queue.__file__))
    assert not scope.wants(code_of(os.path.join(sysconfig.get_paths()["stdlib"], "json/tool.py")))
    assert not scope.wants(code_of(lmi_runtime.errors.__file__))


def test_links_count_by_either_name(tmp_path: Path) -> None:
    stored = a_file(tmp_path / "store" / "six.py")
    linked = tmp_path / "site-packages" / "six.py"
    linked.parent.mkdir()
    linked.symlink_to(stored)
    installed = a_file(tmp_path / "dist-packages" / "other.py")
    near = tmp_path / "other.py"
    near.symlink_to(installed)
    assert not Scope().wants(code_of(linked))
    assert not Scope().wants(code_of(near))


def test_a_named_package_is_watched_wherever_it_is() -> None:
    scope = Scope(["queue", "concurrent.futures"])
    futures = os.path.join(sysconfig.get_paths()["stdlib"], "concurrent", "futures", "thread.py")
    assert scope.wants(code_of(queue.__file__))
    assert scope.wants(code_of(futures))
    assert not scope.wants(code_of(os.__file__))


@pytest.mark.parametrize("name", ["no_such_module_here", "sys"])
def test_what_cannot_be_watched_is_said(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=name):
        Scope([name])
