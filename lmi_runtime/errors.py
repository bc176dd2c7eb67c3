"""
Every exception the package raises, under one root, grouped by whose move it is.

Each class carries the `error_type` that the Runtime API shows to the platform and to callers,
where one applies. Source: the error-type filter of the Runtime API keeps values that contain
``(Runtime|Function).[A-Z][A-Za-z]+``.
"""

from __future__ import annotations

__all__ = [
    "BuiltInModuleConflict",
    "ConfigurationError",
    "ContextUnmarshalError",
    "DeadlineExceeded",
    "HandlerImportError",
    "HandlerModuleRaised",
    "HandlerNameMalformed",
    "HandlerNotFound",
    "HandlerSignatureError",
    "HandlerSyntaxError",
    "InvalidConcurrency",
    "LmiError",
    "LoadCancelled",
    "LoadFailed",
    "LoadTimeout",
    "LockTimeout",
    "MarshalError",
    "NoActiveRequest",
    "PoolClosed",
    "PoolError",
    "PoolOverloaded",
    "PoolTimeout",
    "ReentrantLoad",
    "ResponseTooLarge",
    "RuntimeApiClosed",
    "RuntimeApiError",
    "RuntimeApiUnreachable",
    "ScratchFull",
    "UnmarshalError",
    "UnsupportedMode",
    "VariableNotSet",
    "WrongKindOfCaller",
]


class LmiError(Exception):
    """Root of every exception this package raises."""

    error_type: str = "Runtime.Unknown"


# Your move: the function's configuration or code has to change. Reported once, as an init error.


class ConfigurationError(LmiError, ValueError):
    """The environment or the command line says something that cannot be done."""

    error_type = "Runtime.InvalidConfiguration"


class InvalidConcurrency(ConfigurationError):
    """A concurrency limit is not a whole number of at least 1."""

    error_type = "Runtime.InvalidConcurrency"


class UnsupportedMode(ConfigurationError):
    """The chosen concurrency mode cannot run this handler."""

    error_type = "Runtime.UnsupportedMode"


class HandlerImportError(ConfigurationError):
    """The handler's module could not be imported; the cause is chained."""

    error_type = "Runtime.ImportModuleError"


class BuiltInModuleConflict(HandlerImportError):
    """The handler's module has the name of one that is built into Python."""

    error_type = "Runtime.BuiltInModuleConflict"


class HandlerSyntaxError(HandlerImportError):
    """The handler's module does not compile; the `SyntaxError` is chained."""

    error_type = "Runtime.UserCodeSyntaxError"


class HandlerModuleRaised(HandlerImportError):
    """
    The handler's module raised while it was imported; what it raised is chained.

    Args:
        message: What to tell the user.
        error_type: ``Function.<Class>`` of what was raised.
    """

    def __init__(self, message: str, *, error_type: str) -> None:
        super().__init__(message)
        self.error_type = error_type


class HandlerNotFound(ConfigurationError):
    """The handler's module has no such attribute, or it cannot be called."""

    error_type = "Runtime.HandlerNotFound"


class HandlerNameMalformed(HandlerNotFound):
    """The handler's name is not ``module.function``."""

    error_type = "Runtime.MalformedHandlerName"


class HandlerSignatureError(ConfigurationError, TypeError):
    """The handler cannot be called as ``handler(event, context)`` or ``handler(event)``."""

    error_type = "Runtime.HandlerSignatureError"


# Your move: this code asked for a request where there is none.


class NoActiveRequest(LmiError, LookupError):
    """No invocation is being served by the calling task or thread."""

    error_type = "Function.NoActiveRequest"


class VariableNotSet(LmiError, AttributeError, LookupError):
    """A request-scoped variable was read that has neither a value nor a default."""

    error_type = "Function.VariableNotSet"


# Your move: the code asks for something that cannot work.


class ReentrantLoad(LmiError, RuntimeError):
    """Loading a value needs that same value: waiting for it would never end."""

    error_type = "Function.ReentrantLoad"


class WrongKindOfCaller(LmiError, TypeError):
    """A thread asks for what needs an event loop, or an event loop's thread would be blocked."""

    error_type = "Function.WrongKindOfCaller"


# One invocation's fault: reported to its caller, the loop goes on.


class UnmarshalError(LmiError, ValueError):
    """The event's bytes are not what its content type says."""

    error_type = "Runtime.UnmarshalError"


class ContextUnmarshalError(UnmarshalError):
    """A header that describes the caller, and should hold a JSON object, does not."""

    error_type = "Runtime.LambdaContextUnmarshalError"


class MarshalError(LmiError, TypeError):
    """The handler's result cannot be encoded."""

    error_type = "Runtime.MarshalError"


class ResponseTooLarge(LmiError, ValueError):
    """The encoded result is larger than the Runtime API takes (6 291 556 bytes)."""

    error_type = "Function.ResponseSizeTooLarge"


class DeadlineExceeded(LmiError, TimeoutError):
    """The invocation ran into its deadline and was cancelled or abandoned."""

    error_type = "Function.DeadlineExceeded"


# One invocation's fault: it waited for a connection, a resource or a value that did not come.


class PoolError(LmiError):
    """A pool lends nothing to this request."""

    error_type = "Function.PoolError"


class PoolTimeout(PoolError, TimeoutError):
    """No connection became free in time."""

    error_type = "Function.PoolTimeout"


class PoolOverloaded(PoolError):
    """As many requests as may wait are waiting for a connection already."""

    error_type = "Function.PoolOverloaded"


class PoolClosed(PoolError):
    """The pool, or the resource, has been closed."""

    error_type = "Function.PoolClosed"


class LoadTimeout(LmiError, TimeoutError):
    """The value that is being loaded, or the resource that is being opened, was late."""

    error_type = "Function.LoadTimeout"


class LoadCancelled(LmiError, RuntimeError):
    """The value did not come: something that its loader waited for was cancelled."""

    error_type = "Function.LoadCancelled"


class LoadFailed(LmiError, RuntimeError):
    """Loading the value failed a moment ago, in this process or another, and that was kept."""

    error_type = "Function.LoadFailed"


class LockTimeout(LmiError, TimeoutError):
    """Somebody else kept a file locked for too long."""

    error_type = "Function.LockTimeout"


class ScratchFull(LmiError, OSError):
    """The disk of temporary files is full, or a request's part of it."""

    error_type = "Function.ScratchFull"


# The outside broke: the Runtime API.


class RuntimeApiError(LmiError, ConnectionError):
    """The Runtime API answered with something it never should, or not at all."""

    error_type = "Runtime.ApiError"


class RuntimeApiClosed(RuntimeApiError):
    """The Runtime API closed the connection while this process was asked to stop."""


class RuntimeApiUnreachable(RuntimeApiError):
    """No contact with the Runtime API for so long that the environment should be replaced."""
