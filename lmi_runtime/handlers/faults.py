"""What went wrong, in the form the platform and the caller get it."""

from __future__ import annotations

import importlib
import json
import os
import re
import traceback
import unicodedata
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from lmi_runtime.errors import (
    ContextUnmarshalError,
    HandlerSyntaxError,
    LmiError,
    MarshalError,
    ResponseTooLarge,
    UnmarshalError,
)
from lmi_runtime.model import Failure

__all__ = [
    "MAX_XRAY_CAUSE_BYTES",
    "error_type_of",
    "failure_of",
    "init_failure_of",
    "text_of",
    "user_traceback",
]

MAX_XRAY_CAUSE_BYTES = 64 * 1024
"""An error cause for X-Ray of this many bytes or more is left out: it travels in a header."""

_MAX_GROUP_LEAVES = 10
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_IMPORT_SYSTEM = "<frozen importlib."
_IMPORTLIB = os.path.dirname(os.path.abspath(importlib.__file__)) + os.sep

# Faults of the exchange and not of user code: the body names them as the header does, and as
# awslambdaric does; they have no stack a user could do anything with.
_OF_THE_EXCHANGE = (ContextUnmarshalError, MarshalError, ResponseTooLarge, UnmarshalError)

_LEGAL_CLASS = re.compile(r"[A-Z][A-Za-z]+[A-Za-z0-9_]*\Z")

_Frame = tuple[str, int, str, str | None]


def failure_of(exc: BaseException) -> Failure:
    """
    Describe what one invocation raised.

    Never raises itself, whatever the exception does when it is asked for its text.
    """
    if isinstance(exc, _OF_THE_EXCHANGE):
        cause = _xray_cause(("LambdaValidationError", text_of(exc), []))
        return Failure(exc.error_type, exc.error_type, text_of(exc), (), cause)
    parts = [_part(exc), *map(_part, _leaves(exc))]
    return Failure(
        error_type=_error_type(exc),
        error_class=type(exc).__name__,
        message=_message(exc),
        stack=tuple(_stack(parts)),
        xray_cause=_xray_cause(*parts),
    )


def init_failure_of(exc: BaseException) -> Failure:
    """
    Describe why the handler could not be loaded, as an init error.

    The stack is that of the exception underneath: what user code raised while it was imported.
    """
    if not isinstance(exc, LmiError):
        return failure_of(exc)
    cause = exc.__cause__
    stack: tuple[str, ...] = ()
    if isinstance(exc, HandlerSyntaxError) and isinstance(cause, SyntaxError):
        stack = (f'  File "{cause.filename}" Line {cause.lineno}\n    {cause.text}',)
    elif cause is not None:
        stack = tuple(_stack([_part(cause)]))
    return Failure(exc.error_type, _init_class(exc), text_of(exc), stack)


def user_traceback(exc: BaseException) -> TracebackType | None:
    """Return the traceback from the first frame that is not this package's."""
    tb = exc.__traceback__
    while tb is not None and _is_ours(tb.tb_frame.f_code.co_filename):
        tb = tb.tb_next
    return tb


def error_type_of(error_class: str) -> str:
    """
    Return ``Function.<Class>``, made legal for the platform's filter.

    The filter keeps what contains ``Function.`` and a capital and a letter; other names would
    show as ``Function.Unknown``, so they lose what is in the way: ``_Retry2Error`` shows as
    ``Function.RetryError``.
    """
    if _LEGAL_CLASS.match(error_class):
        return f"Function.{error_class}"
    plain = unicodedata.normalize("NFKD", error_class)
    letters = re.sub("[^A-Za-z]", "", plain)
    if len(letters) < 2:
        return "Function.Unknown"
    return f"Function.{letters[0].upper()}{letters[1:]}"


def _error_type(exc: BaseException) -> str:
    # A user's own subclass that named no type of its own inherits the root's, which says less
    # than the class does.
    if isinstance(exc, LmiError) and exc.error_type != LmiError.error_type:
        return exc.error_type
    return error_type_of(type(exc).__name__)


def _init_class(exc: LmiError) -> str:
    # awslambdaric names the class that import raised; for its own faults, the error type.
    cause = exc.__cause__
    raised_by_user = exc.error_type.startswith("Function.") and cause is not None
    return type(cause).__name__ if raised_by_user else exc.error_type


def text_of(exc: BaseException) -> str:
    """Return ``str(exc)``, or a stand-in when that raises."""
    try:
        return str(exc)
    except Exception:
        return f"<{type(exc).__name__} whose text cannot be made>"


def _message(exc: BaseException) -> str:
    if isinstance(exc, SystemExit):
        return (
            f"The handler tried to exit the process (status {_code_of(exc)}). Only this "
            "invocation failed; raise an error or return instead."
        )
    leaves = _leaves(exc)
    if not leaves:
        return text_of(exc)
    named = "; ".join(f"{type(leaf).__name__}: {text_of(leaf)}" for leaf in leaves)
    return f"{text_of(exc)}: {named}"


def _code_of(exc: SystemExit) -> str:
    try:
        return repr(exc.code)
    except Exception:
        return "unknown"


def _leaves(exc: BaseException) -> list[BaseException]:
    """The exceptions inside a group, however deep, up to a readable number."""
    found: list[BaseException] = []
    waiting = [exc] if isinstance(exc, BaseExceptionGroup) else []
    while waiting and len(found) < _MAX_GROUP_LEAVES:
        current = waiting.pop(0)
        if isinstance(current, BaseExceptionGroup):
            waiting[:0] = current.exceptions
        else:
            found.append(current)
    return found


def _part(exc: BaseException) -> tuple[str, str, list[_Frame]]:
    return type(exc).__name__, text_of(exc), list(_frames(user_traceback(exc)))


def _frames(tb: TracebackType | None) -> Iterator[_Frame]:
    leading = True
    for frame in traceback.extract_tb(tb):
        # The machinery that ran the user's module while it was imported.
        leading = leading and _is_import_system(frame.filename)
        if not leading:
            yield frame.filename, frame.lineno or 0, frame.name, frame.line


def _stack(parts: list[tuple[str, str, list[_Frame]]]) -> Iterator[str]:
    for position, (name, text, frames) in enumerate(parts):
        if position:
            yield f"  Inside the group: {name}: {text}\n"
        yield from traceback.format_list(frames)


def _xray_cause(*parts: tuple[str, str, list[_Frame]]) -> bytes | None:
    exceptions: list[dict[str, Any]] = [
        {
            "message": text,
            "type": name,
            "stack": [
                {"label": label, "path": path, "line": line} for path, line, label, _ in frames
            ],
        }
        for name, text, frames in parts
    ]
    paths = dict.fromkeys(path for _, _, frames in parts for path, *_ in frames)
    cause = {
        "working_directory": _working_directory(),
        "exceptions": exceptions,
        "paths": list(paths),
    }
    encoded = json.dumps(cause).encode("ascii")
    return encoded if len(encoded) < MAX_XRAY_CAUSE_BYTES else None


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it has been deleted
        return ""


def _is_ours(path: str) -> bool:
    return path.startswith(_PACKAGE)


def _is_import_system(path: str) -> bool:
    return path.startswith((_IMPORT_SYSTEM, _IMPORTLIB))
