"""What is changed in other people's packages: a line for each module; see `Change`."""

from __future__ import annotations

from lmi_runtime.integrations.patching import Change

__all__ = [
    "BOTOCORE",
    "LOWEST_POWERTOOLS",
    "NEWEST_POWERTOOLS",
    "POWERTOOLS",
    "POWERTOOLS_PACKAGE",
    "XRAY",
    "XRAY_PACKAGE",
]

POWERTOOLS_PACKAGE = "aws_lambda_powertools"
XRAY_PACKAGE = "aws_xray_sdk"

LOWEST_POWERTOOLS = (3, 23)
"""The first version this was tested with."""
NEWEST_POWERTOOLS = (3, 37)
"""The last one; its patch releases are taken to be the same."""

_OURS = "lmi_runtime.integrations"


def _powertools(utility: str, module: str, made_by: str) -> Change:
    return Change(utility, f"{POWERTOOLS_PACKAGE}.{module}", f"{_OURS}.powertools.{made_by}")


POWERTOOLS: tuple[Change, ...] = (
    _powertools(
        "Idempotency", "utilities.idempotency.persistence.base", "idempotency:isolate_stores"
    ),
    _powertools("Idempotency", "utilities.idempotency.config", "idempotency:isolate_configs"),
    _powertools("Idempotency", "utilities.idempotency.base", "idempotency:isolate_calls"),
    _powertools("Idempotency", "utilities.idempotency.idempotency", "idempotency:see_invocations"),
)

XRAY: tuple[Change, ...] = ()

BOTOCORE: tuple[Change, ...] = ()
