"""What the environment and the command line say, read once and frozen."""

from __future__ import annotations

import enum
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lmi_runtime.errors import ConfigurationError, InvalidConcurrency, UnsupportedMode

__all__ = ["LogFormat", "Mode", "Settings", "backend_from", "is_made_safe"]

# The platform kills 600 ms after its signal.
_SHUTDOWN_S = 0.45


class Mode(enum.Enum):
    """
    How invocations share processes.

    The names are those of ``AWS_LAMBDA_CONCURRENCY_MODE``.
    """

    ASYNC = "async"
    """One process per vCPU, each invocation a task."""
    HYBRID = "hybrid"
    """One process per vCPU, each invocation a thread."""
    THREAD = "thread"
    """One process, each invocation a thread."""
    PROCESS = "process"
    """One process per invocation."""


class LogFormat(enum.Enum):
    """How log lines are written."""

    JSON = "json"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    Everything the runtime takes from outside.

    Attributes:
        handler: ``module.attribute`` of the handler.
        runtime_api: ``host:port`` of the Runtime API.
        max_concurrency: Invocations this execution environment may serve at once; None on
            classic Lambda, which serves one.
        mode: The mode that was asked for, or None to let the handler decide.
        vcpus: The count that was asked for (``LMI_VCPUS``), or None to detect it.
        task_root: Directory the handler is imported from.
        log_format: JSON on Lambda Managed Instances, always.
        log_level: A `logging` level, or None to leave the root logger's.
        log_socket: Path of the telemetry FD-provider socket, or None.
        memory_mb: Memory of the execution environment in MiB, or None.
        backend: ``asyncio`` or ``trio``.
        use_uvloop: True or False as asked; None uses it when installed.
        shutdown_s: Seconds from the platform's signal until this environment has to be gone.
        make_safe: Whether libraries that keep state for the whole process are changed to keep it
            for each request.
    """

    handler: str
    runtime_api: str
    max_concurrency: int | None = None
    mode: Mode | None = None
    vcpus: int | None = None
    task_root: str = ""
    log_format: LogFormat = LogFormat.TEXT
    log_level: int | None = None
    log_socket: str | None = None
    memory_mb: int | None = None
    backend: str = "asyncio"
    use_uvloop: bool | None = None
    shutdown_s: float = _SHUTDOWN_S
    make_safe: bool = True

    @classmethod
    def from_environ(
        cls,
        handler: str | None,
        environ: Mapping[str, str],
        *,
        mode: str | None = None,
        cwd: str = "",
    ) -> Settings:
        """
        Read the environment of a Lambda function.

        Args:
            handler: From the command line, or None to take ``_HANDLER``.
            environ: Usually `os.environ`.
            mode: From the command line; wins over ``AWS_LAMBDA_CONCURRENCY_MODE``.
            cwd: Where the handler is looked for unless ``LAMBDA_TASK_ROOT`` is set.

        Raises:
            ConfigurationError: A variable is missing or makes no sense; the text names it.
        """
        name = handler or environ.get("_HANDLER")
        if not name:
            raise ConfigurationError(
                "No handler was named. Run `python -m lmi_runtime module.function` or set _HANDLER."
            )
        concurrency = _count(environ, "AWS_LAMBDA_MAX_CONCURRENCY")
        return cls(
            handler=name,
            runtime_api=environ.get("AWS_LAMBDA_RUNTIME_API", ""),
            max_concurrency=concurrency,
            mode=_mode(mode or environ.get("AWS_LAMBDA_CONCURRENCY_MODE")),
            vcpus=_count(environ, "LMI_VCPUS"),
            task_root=environ.get("LAMBDA_TASK_ROOT") or cwd,
            log_format=_log_format(environ, managed=concurrency is not None),
            log_level=_log_level(environ.get("AWS_LAMBDA_LOG_LEVEL")),
            log_socket=environ.get("_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET") or None,
            memory_mb=_count(environ, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"),
            backend=backend_from(environ),
            use_uvloop=_flag(environ, "LMI_UVLOOP"),
            shutdown_s=_seconds(environ, "LMI_SHUTDOWN_S", _SHUTDOWN_S),
            make_safe=is_made_safe(environ),
        )


def _count(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name)
    if text is None or not text.strip():
        return None
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise InvalidConcurrency(f"{name}={text!r} is not a whole number of at least 1.")
    return value


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < math.inf:
        raise ConfigurationError(f"{name}={text!r} is not a number of seconds above 0.")
    return value


def _mode(text: str | None) -> Mode | None:
    if not text:
        return None
    try:
        return Mode(text.strip().lower())
    except ValueError:
        known = ", ".join(mode.value for mode in Mode)
        raise UnsupportedMode(f"Mode {text!r} is not one of {known}.") from None


def _log_format(environ: Mapping[str, str], *, managed: bool) -> LogFormat:
    # Managed Instances take JSON only, whatever the variable says.
    if managed or environ.get("AWS_LAMBDA_LOG_FORMAT", "").lower() == "json":
        return LogFormat.JSON
    return LogFormat.TEXT


def _log_level(text: str | None) -> int | None:
    if not text:
        return None
    levels = logging.getLevelNamesMapping() | {"TRACE": logging.DEBUG}
    return levels.get(text.upper())


def backend_from(environ: Mapping[str, str]) -> Literal["asyncio", "trio"]:
    """
    Which event loop serves `async def`.

    Raises:
        ConfigurationError: ``LMI_BACKEND`` names neither.
    """
    text = environ.get("LMI_BACKEND") or "asyncio"
    if text == "asyncio":
        return "asyncio"
    if text == "trio":
        return "trio"
    raise ConfigurationError(f"LMI_BACKEND={text!r} is neither 'asyncio' nor 'trio'.")


def is_made_safe(environ: Mapping[str, str]) -> bool:
    """
    Whether other people's libraries are changed to keep their state for each request.

    Raises:
        ConfigurationError: ``LMI_MAKE_SAFE`` is neither on nor off.
    """
    return _flag(environ, "LMI_MAKE_SAFE") is not False


def _flag(environ: Mapping[str, str], name: str) -> bool | None:
    text = environ.get(name, "").strip().lower()
    if not text:
        return None
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off"):
        return False
    raise ConfigurationError(f"{name}={text!r} is neither on (1) nor off (0).")
