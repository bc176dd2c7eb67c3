"""The `context` argument of a handler, compatible with awslambdaric's."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping
from typing import Any

from lmi_runtime import _sync
from lmi_runtime._facts import Facts
from lmi_runtime.errors import ContextUnmarshalError
from lmi_runtime.model import Invocation

__all__ = ["Client", "ClientContext", "CognitoIdentity", "FunctionEnvironment", "LambdaContext"]

_W3C_FIELDS = ("traceparent", "tracestate", "baggage")


class FunctionEnvironment(Facts, kw_only=False):
    """
    What the platform says about the function itself, the same for every request.

    A variable that is not set reads as None, as with awslambdaric. The types say `str`
    because the platform always sets them.
    """

    log_group_name: str
    log_stream_name: str
    function_name: str
    memory_limit_in_mb: str
    function_version: str

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> FunctionEnvironment:
        """Read the ``AWS_LAMBDA_*`` variables."""
        read: Any = environ.get
        return cls(
            log_group_name=read("AWS_LAMBDA_LOG_GROUP_NAME"),
            log_stream_name=read("AWS_LAMBDA_LOG_STREAM_NAME"),
            function_name=read("AWS_LAMBDA_FUNCTION_NAME"),
            memory_limit_in_mb=read("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"),
            function_version=read("AWS_LAMBDA_FUNCTION_VERSION"),
        )


@functools.cache
def _process_environment() -> FunctionEnvironment:
    return FunctionEnvironment.from_environ(os.environ)


class _Fields:
    """An object whose slots are the keys it takes from a JSON object."""

    __slots__: tuple[str, ...] = ()

    def __init__(self, values: Mapping[str, Any]) -> None:
        for field in self.__slots__:
            setattr(self, field, values.get(field))

    def __repr__(self) -> str:
        fields = ",".join(f"{field}={getattr(self, field)}" for field in self.__slots__)
        return f"{type(self).__name__}([{fields}])"


class Client(_Fields):
    """The app that called, as its AWS Mobile SDK describes it."""

    __slots__ = (  # noqa: RUF023 - the order in which repr shows them
        "installation_id",
        "app_title",
        "app_version_name",
        "app_version_code",
        "app_package_name",
    )
    installation_id: str
    app_title: str
    app_version_name: str
    app_version_code: str
    app_package_name: str


class ClientContext(_Fields):
    """
    What the caller's SDK said about itself.

    Attributes:
        custom: The caller's own values, or None.
        env: The SDK's environment, or None.
        client: The calling app, or None.
    """

    __slots__ = ("custom", "env", "client")  # noqa: RUF023 - as above
    custom: dict[str, Any] | None
    env: dict[str, Any] | None
    client: Client | None

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        client = values.get("client")
        self.client = None if client is None else Client(client)


class CognitoIdentity(_Fields):
    """The Cognito identity that authorized the request; the fields are None without one."""

    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")
    cognito_identity_id: str | None
    cognito_identity_pool_id: str | None

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.cognito_identity_id = values.get("cognitoIdentityId")
        self.cognito_identity_pool_id = values.get("cognitoIdentityPoolId")


class LambdaContext:
    """
    The `context` argument of a handler.

    Takes the arguments of awslambdaric's class and has its attributes and methods.

    Args:
        invoke_id: The request id.
        client_context: The decoded client-context header, or None. Not changed.
        cognito_identity: The decoded cognito-identity header, or None.
        epoch_deadline_time_in_ms: Deadline in milliseconds since the epoch.
        invoked_function_arn: The ARN that was invoked.
        tenant_id: Tenant, where the platform isolates by tenant.
        deadline_s: The same deadline on the monotonic clock, in seconds; wins when given,
            because a clock that is set back or forth cannot touch it.
        environment: The function's own facts; the process's environment, read once, unless
            given.

    Thread safety: its facts never change after construction.
    """

    def __init__(
        self,
        invoke_id: str,
        client_context: Mapping[str, Any] | None,
        cognito_identity: Mapping[str, Any] | None,
        epoch_deadline_time_in_ms: int,
        invoked_function_arn: str | None = None,
        tenant_id: str | None = None,
        *,
        deadline_s: float | None = None,
        environment: FunctionEnvironment | None = None,
    ) -> None:
        facts = environment or _process_environment()
        self.aws_request_id = invoke_id
        self.log_group_name: str = facts.log_group_name
        self.log_stream_name: str = facts.log_stream_name
        self.function_name: str = facts.function_name
        self.memory_limit_in_mb: str = facts.memory_limit_in_mb
        self.function_version: str = facts.function_version
        self.invoked_function_arn: str = invoked_function_arn  # type: ignore[assignment]
        self.tenant_id = tenant_id
        self._w3c_fields = _w3c_fields(client_context)
        self.client_context: ClientContext | None = (
            None if client_context is None else ClientContext(client_context)
        )
        self.identity: CognitoIdentity = CognitoIdentity(cognito_identity or {})
        self._epoch_deadline_time_in_ms = epoch_deadline_time_in_ms
        self._deadline_s = deadline_s

    @classmethod
    def from_invocation(cls, invocation: Invocation) -> LambdaContext:
        """
        Build the context of one delivery.

        Raises:
            ContextUnmarshalError: A header that should hold a JSON object does not.
        """
        return cls(
            invocation.request_id,
            _client_context(invocation.client_context),
            _json_object(invocation.cognito_identity, "Cognito Identity"),
            invocation.deadline_ms,
            invocation.function_arn,
            invocation.tenant_id,
            deadline_s=invocation.deadline_s,
        )

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the platform gives up on this request, never below 0."""
        if self._deadline_s is not None:
            return max(0, int((self._deadline_s - _sync.monotonic()) * 1000))
        return max(0, self._epoch_deadline_time_in_ms - int(_sync.wall_time() * 1000))

    def w3c(self) -> dict[str, str]:
        """Those of traceparent, tracestate and baggage that were sent; a new dict each time."""
        return dict(self._w3c_fields)

    def log(self, msg: object) -> None:
        """Write `msg` to standard output as one line, whatever the log level."""
        text = str(msg)
        sys.stdout.write(text if text.endswith("\n") else text + "\n")

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(["
            f"aws_request_id={self.aws_request_id},"
            f"log_group_name={self.log_group_name},"
            f"log_stream_name={self.log_stream_name},"
            f"function_name={self.function_name},"
            f"memory_limit_in_mb={self.memory_limit_in_mb},"
            f"function_version={self.function_version},"
            f"invoked_function_arn={self.invoked_function_arn},"
            f"client_context={self.client_context},"
            f"identity={self.identity},"
            f"tenant_id={self.tenant_id}"
            "])"
        )


def _w3c_fields(client_context: Mapping[str, Any] | None) -> dict[str, str]:
    sent = client_context.get("w3c") if client_context else None
    if not isinstance(sent, dict):
        return {}
    return {field: sent[field] for field in _W3C_FIELDS if isinstance(sent.get(field), str)}


def _client_context(text: str | None) -> dict[str, Any] | None:
    values = _json_object(text, "Client Context")
    if values is not None and not isinstance(values.get("client"), dict | None):
        raise _unparsable("Client Context", "its 'client' is not an object")
    return values


def _json_object(text: str | None, header: str) -> dict[str, Any] | None:
    if not text:
        return None
    import json  # few requests have either header

    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unparsable(header, error) from error
    if not isinstance(value, dict | None):
        raise _unparsable(header, "it is not an object")
    return value


def _unparsable(header: str, reason: object) -> ContextUnmarshalError:
    return ContextUnmarshalError(f"Unable to parse {header} JSON: {reason}")
