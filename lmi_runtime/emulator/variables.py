"""The environment variables a runtime finds on Lambda Managed Instances."""

from __future__ import annotations

from collections.abc import Mapping

from lmi_runtime.emulator.options import EmulatorOptions

# AWS's own address for it is a link-local one, which on a laptop leads anywhere.
_XRAY_HOST, _XRAY_PORT = "127.0.0.1", "2000"
# In Lambda credentials are in the environment; here an SDK without any would go and ask the
# network for some, at import, and leave a socket open.
_DEFAULTS = {"AWS_EC2_METADATA_DISABLED": "true"}
_FOREIGN = ("AWS_LAMBDA_", "_LAMBDA_", "_AWS_XRAY_", "LAMBDA_")
_FOREIGN_NAMES = frozenset({"_HANDLER", "_X_AMZN_TRACE_ID"})


def runtime_variables(
    options: EmulatorOptions,
    *,
    runtime_api: str,
    task_root: str,
    inherited: Mapping[str, str],
    extra: Mapping[str, str],
    telemetry_socket: str | None = None,
) -> dict[str, str]:
    """
    The whole environment of a runtime process.

    Args:
        options: The environment's facts.
        runtime_api: `host:port` of the Runtime API.
        task_root: Folder of the function's code.
        inherited: Variables of this process; those of another Lambda environment are left out.
        extra: The function's own variables; they win.
        telemetry_socket: Path of the socket that hands out log streams.
    """
    variables = dict(_DEFAULTS)
    variables |= {name: value for name, value in inherited.items() if not _is_foreign(name)}
    variables |= _platform_variables(options)
    variables |= {
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "LAMBDA_TASK_ROOT": task_root,
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "_HANDLER": options.handler,
        "TZ": ":UTC",
    }
    if telemetry_socket is not None:
        variables["_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET"] = telemetry_socket
    return variables | dict(extra)


def _is_foreign(name: str) -> bool:
    return name in _FOREIGN_NAMES or name.startswith(_FOREIGN)


def _platform_variables(options: EmulatorOptions) -> dict[str, str]:
    return {
        "AWS_LAMBDA_MAX_CONCURRENCY": str(options.max_concurrency),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances",
        "AWS_LAMBDA_LOG_FORMAT": "json",
        "AWS_LAMBDA_FUNCTION_NAME": options.function_name,
        "AWS_LAMBDA_FUNCTION_VERSION": options.function_version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(options.memory_mb),
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{options.function_name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": options.function_version,
        "AWS_REGION": options.region,
        "AWS_DEFAULT_REGION": options.region,
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": f"{_XRAY_HOST}:{_XRAY_PORT}",
        "_AWS_XRAY_DAEMON_ADDRESS": _XRAY_HOST,
        "_AWS_XRAY_DAEMON_PORT": _XRAY_PORT,
    }
