"""A shared cache that nobody closed."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path
from typing import Any

import pytest

from lmi_runtime.caches.shared import SharedCache


# What is warned about while garbage is collected is told of as unraisable.
@pytest.mark.filterwarnings("error")
def test_one_in_a_circle_of_references_is_collected_in_silence(tmp_path: Path) -> None:
    cache: Any = SharedCache(directory=tmp_path, store="sqlite")
    cache.set("k", 1)
    cache.circle = cache

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        del cache
        gc.collect()

    assert [str(warning.message) for warning in seen] == []
