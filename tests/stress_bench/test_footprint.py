"""What is read from ``-X importtime``, and from a wheel."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from stress.bench.footprint import Module, Python, pack, parse_import_times, rooms_of, slowest

PRINTED = """\
import time: self [us] | cumulative | imported package
import time:       100 |        100 |   _io
import time:      1500 |       2600 | lmi_runtime.pools
not a line of it
"""


def test_import_times_are_read_in_milliseconds() -> None:
    assert parse_import_times(PRINTED) == [
        Module("_io", 0.1, 0.1),
        Module("lmi_runtime.pools", 1.5, 2.6),
    ]


def test_the_slowest_by_themselves_come_first() -> None:
    modules = [Module("a", 1.0, 9.0), Module("b", 3.0, 3.0), Module("c", 2.0, 2.0)]

    assert [module.name for module in slowest(modules, 2)] == ["b", "c"]


def test_a_package_is_packed_without_byte_code_and_weighed_by_room(tmp_path: Path) -> None:
    package = tmp_path / "lmi_runtime"
    for name in ("pools/pool.py", "pools/__pycache__/pool.pyc", "errors.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("text " * 50)

    archive = pack(package, tmp_path / "package.zip")

    with zipfile.ZipFile(archive) as packed:
        assert packed.namelist() == ["lmi_runtime/errors.py", "lmi_runtime/pools/pool.py"]
    assert set(rooms_of(archive)) == {"lmi_runtime/errors.py", "lmi_runtime/pools"}


def test_an_import_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="No module named 'no_such_module'"):
        Python(tmp_path).run("-c", "import no_such_module")
