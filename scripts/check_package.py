"""
Build the package as a user gets it, install it alone, and use it from somewhere else.

Catches what an editable install hides: files left out of the wheel, dependencies that only the
development environment has, imports that work because the repository is the current folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def run(*command: str | Path, cwd: Path = REPOSITORY) -> None:
    print("+", *command, flush=True)
    # A PYTHONPATH that names the repository would hide every missing file.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(list(map(str, command)), check=True, cwd=cwd, env=env)


def check_contents(wheel: Path) -> None:
    """Compare the wheel with the source tree, file by file."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("lmi_runtime/")}
        others = {name.split("/")[0] for name in archive.namelist()} - {"lmi_runtime"}
    package = REPOSITORY / "lmi_runtime"
    source = {
        str(path.relative_to(REPOSITORY))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "lmi_runtime/py.typed" in packed, "py.typed is not shipped"
    assert source == packed, f"wheel and source differ: {sorted(source ^ packed)}"
    assert all(name.endswith(".dist-info") for name in others), f"strays in the wheel: {others}"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        away = Path(folder)
        # The wheel is built from the sdist, so both are proven.
        run(sys.executable, "-m", "build", "--outdir", away / "dist", REPOSITORY)
        (wheel,) = (away / "dist").glob("*.whl")
        check_contents(wheel)
        run(sys.executable, "-m", "venv", away / "venv")
        python = away / "venv" / "bin" / "python"
        run(python, "-m", "pip", "install", "-qq", wheel)
        run(python, "-m", "pip", "check")
        show = "import lmi_runtime; print(lmi_runtime.__version__, lmi_runtime.__file__)"
        run(python, "-I", "-c", show, cwd=away)
        run(away / "venv" / "bin" / "lmi", "--help", cwd=away)
        run(python, "-m", "lmi_runtime", "--help", cwd=away)
    return 0


if __name__ == "__main__":
    sys.exit(main())
