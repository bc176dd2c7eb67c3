"""What a user may choose about the emulated environment."""

from __future__ import annotations

from dataclasses import dataclass

MAX_RESPONSE_BYTES = 6 * 1024 * 1024 + 100
MAX_ERROR_BYTES = 1024 * 1024
MAX_IDLE_POLLS = 10_000
REMEMBERED_TIMEOUTS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorOptions:
    """
    The facts of one emulated execution environment.

    Attributes:
        function_name: Name in the ARN and in the invoke URL. The name `function`, which AWS's
            emulator insists on, is always accepted too.
        function_version: Version in `X-Amz-Executed-Version` and in the register answer.
        region: Region in the ARN.
        account_id: Account in the ARN.
        handler: Handler string given to the runtime and to extensions that register.
        memory_mb: Megabytes told to the runtime; nothing enforces them.
        timeout_s: Seconds from delivery until the caller is told `Sandbox.Timedout`.
        init_timeout_s: Seconds from `start_init` until callers that wait for the first poll are
            told `Sandbox.Timedout`; None waits for ever.
        shutdown_grace_s: Seconds from SIGTERM to SIGKILL, where an extension has registered.
        max_concurrency: The N of `AWS_LAMBDA_MAX_CONCURRENCY`.
        enforce_max_concurrency: Refuse the N+1st invocation even when a poll waits, as the service
            does. AWS's emulator does not.
        throttle_status: HTTP status of a refusal: 400 is AWS's emulator, 429 is the service (and
            makes botocore raise `TooManyRequestsException`).
        strict: Record every broken client invariant in `Emulator.violations`.
        rie_deadline_bug: Reproduce the deadline of AWS's emulator, a million times too far ahead.
        legacy_no_invocation_id: Leave out `Lambda-Runtime-Invocation-Id`, as before mid-2026.
        send_empty_headers: Send absent facts as empty headers instead of leaving them out.
        make_up_traces: Give an event whose caller names no X-Ray trace one of its own, not sampled,
            as the service does while active tracing is off. AWS's emulator does not.
        max_idle_polls: Waiting polls, ghosts included, beyond which a poll is answered 500.
    """

    function_name: str = "function"
    function_version: str = "$LATEST"
    region: str = "us-east-1"
    account_id: str = "012345678912"
    handler: str = "app.handler"
    memory_mb: int = 3008
    timeout_s: float = 300.0
    init_timeout_s: float | None = None
    shutdown_grace_s: float = 0.6
    max_concurrency: int = 8
    enforce_max_concurrency: bool = False
    throttle_status: int = 400
    strict: bool = True
    rie_deadline_bug: bool = False
    legacy_no_invocation_id: bool = False
    send_empty_headers: bool = False
    make_up_traces: bool = False
    max_idle_polls: int = MAX_IDLE_POLLS

    def __post_init__(self) -> None:
        if self.max_concurrency < 1:
            raise ValueError(f"max_concurrency must be at least 1, not {self.max_concurrency}")
        if self.timeout_s <= 0:
            raise ValueError(f"timeout_s must be positive, not {self.timeout_s}")
        if self.throttle_status not in (400, 429):
            raise ValueError(f"throttle_status must be 400 or 429, not {self.throttle_status}")

    @property
    def function_arn(self) -> str:
        """ARN sent with every event."""
        return f"arn:aws:lambda:{self.region}:{self.account_id}:function:{self.function_name}"
