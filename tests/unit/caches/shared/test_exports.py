"""What a function pays for that shares nothing between processes."""

from __future__ import annotations

import subprocess
import sys

from lmi_runtime import caches
from tests.support.repository import REPOSITORY


def test_every_name_is_there() -> None:
    assert [name for name in caches.__all__ if not hasattr(caches, name)] == []
    assert not hasattr(caches, "Nothing")


def test_a_cache_of_ones_own_does_not_load_what_a_shared_one_needs() -> None:
    # Old releases of anyio load some of it themselves: that is not for us to change.
    code = (
        "import sys, anyio; others = sorted(sys.modules);"
        "import lmi_runtime.caches; before = sorted(sys.modules);"
        "lmi_runtime.caches.SharedCache;"
        "print(*others); print(*before); print(*sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    others, before, after = (set(line.split()) for line in done.stdout.splitlines())

    assert "lmi_runtime.caches.shared" in after - before
    assert {"hashlib", "mmap"} & (before - others) == set()
    assert {"sqlite3", "lmdb", "msgpack", "shutil", "tempfile"} & (after - others) == set()
