"""What processes need that ask no real AWS for anything, and have nobody's credentials."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any

import pytest

__all__ = ["be_nobody", "nobody"]

_NOBODY = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_LAMBDA_FUNCTION_NAME": "function",
}


def _of_aws(name: str) -> bool:
    return name.startswith(("AWS_", "_X_AMZN"))


def nobody(**more: str) -> Mapping[str, str]:
    """This process's environment without what AWS is told by it, for another process."""
    kept = {name: value for name, value in os.environ.items() if not _of_aws(name)}
    return kept | _NOBODY | more


def be_nobody(monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
    """
    The same for this process, while the test runs.

    Sessions share what they load from botocore's files, which is most of what it takes to make the
    first client of a session.
    """
    for name in filter(_of_aws, list(os.environ)):
        monkeypatch.delenv(name)
    for name, value in (_NOBODY | more).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("botocore.session.create_loader", lambda *_: _loader())


@functools.cache
def _loader() -> Any:
    from botocore.loaders import create_loader  # type: ignore[import-untyped]

    return create_loader()
