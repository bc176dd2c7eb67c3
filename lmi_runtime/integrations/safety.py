"""One call that makes what the function imports safe, and says what it could not."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType

from lmi_runtime.integrations import changes
from lmi_runtime.integrations.helper_threads import carry_requests
from lmi_runtime.integrations.importing import when_imported
from lmi_runtime.integrations.patching import Patcher, Safety

__all__ = ["arm", "make_safe"]

logger = logging.getLogger("lmi_runtime.integrations")

_patchers = {
    Patcher("powertools"): changes.POWERTOOLS,
    Patcher("The AWS X-Ray SDK"): changes.XRAY,
    Patcher("botocore"): changes.BOTOCORE,
}
_armed: dict[str, object] = {}
"""Whether the changes wait for their modules; changed by dict.setdefault only."""


def make_safe(*, helper_threads: bool = True) -> Safety:
    """
    Give each request its own state of powertools and of the AWS X-Ray SDK.

    This package's runtime calls it by itself when a function imports one of them. Call it
    yourself, once and before the first invocation, where another runtime serves the function. It
    imports none of them: what the function imports later is changed then.

    What cannot be made safe is named in the log, in one sentence each. So are a version of
    powertools outside the range that this was tested with (3.23 to 3.37), of which everything
    that looks the same is changed nevertheless, and a second copy of powertools.

    Args:
        helper_threads: Also have plain threads and `ThreadPoolExecutor` serve the request of
            whoever starts them or submits to them, until it has been answered.

    Returns:
        What has been done so far, what waits for its import, and what could not be done and why.

    Thread safety: from any thread, any number of times.
    """
    if helper_threads:
        carry_requests()
    _arm_changes()
    reports = [patcher.report() for patcher in _patchers]
    return Safety(
        patched=tuple(sorted(name for report in reports for name in report.patched)),
        waiting=tuple(sorted(name for report in reports for name in report.waiting)),
        not_patched={
            name: reason for report in reports for name, reason in report.not_patched.items()
        },
    )


def arm() -> None:
    """
    Have `make_safe` called as soon as the function imports something that needs it.

    Thread safety: from any thread, any number of times.
    """
    _arm_changes()
    for package in (changes.POWERTOOLS_PACKAGE, changes.XRAY_PACKAGE):
        when_imported(package, lambda _: carry_requests())


def _arm_changes() -> None:
    mine = object()
    if _armed.setdefault("since", mine) is not mine:
        return
    for patcher, table in _patchers.items():
        patcher.arm(table)
    when_imported(changes.POWERTOOLS_PACKAGE, _look_at_powertools)


def _look_at_powertools(package: ModuleType) -> None:
    text = str(getattr(package, "__version__", "of an unknown version"))
    if not changes.LOWEST_POWERTOOLS <= _numbers(text) <= changes.NEWEST_POWERTOOLS:
        logger.warning(
            "powertools %s is outside the range that lmi_runtime was tested with (%s to %s): what "
            "looks the same is isolated between requests, and what does not is named here.",
            text,
            ".".join(map(str, changes.LOWEST_POWERTOOLS)),
            ".".join(map(str, changes.NEWEST_POWERTOOLS)),
        )
    copies = _copies(changes.POWERTOOLS_PACKAGE)
    if len(copies) > 1:
        logger.warning(
            "There are %d copies of powertools, as in a layer and in the package: %s is used, %s "
            "is not; remove one, so that what was tested is what runs.",
            len(copies),
            Path(str(package.__file__)).parent,
            " and ".join(str(copy) for copy in copies if not _is_in(package, copy)),
        )


def _numbers(version: str) -> tuple[int, ...]:
    """Major and minor, which are what a range is made of."""
    parts = version.split(".")[:2]
    return tuple(int(part) if part.isdecimal() else 0 for part in parts)


def _copies(package: str) -> list[Path]:
    found = {
        folder.resolve()
        for entry in sys.path
        if (folder := Path(entry or ".") / package).joinpath("__init__.py").is_file()
    }
    return sorted(found)


def _is_in(package: ModuleType, folder: Path) -> bool:
    return Path(str(package.__file__)).resolve().parent == folder
