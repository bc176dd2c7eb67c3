from __future__ import annotations

import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lmi_runtime.stress.world import World

_numbers = itertools.count()

MakeWorld = Callable[..., World]


@pytest.fixture
def package(tmp_path: Path) -> Iterator[str]:
    """Name of a package that nothing else imports; files go into `tmp_path / name`."""
    name = f"app_{next(_numbers)}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    sys.path.insert(0, str(tmp_path))
    yield name
    sys.path.remove(str(tmp_path))
    for loaded in [it for it in sys.modules if it.partition(".")[0] == name]:
        del sys.modules[loaded]


@pytest.fixture
def make_world(tmp_path: Path, package: str) -> Iterator[MakeWorld]:
    """Write the files of the package, and capture a world that treats them as the user's."""
    made: list[World] = []

    def make(source: str = "", **others: str) -> World:
        for name, text in {"__init__": source, **others}.items():
            code = textwrap.dedent(text).replace("APP", package)
            (tmp_path / package / f"{name}.py").write_text(code)
        made.append(World.capture(package, wants=lambda file: file.startswith(str(tmp_path))))
        return made[-1]

    yield make
    for world in made:
        world.restore()
