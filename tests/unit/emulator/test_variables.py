"""What a runtime in the local environment finds in its own."""

from __future__ import annotations

from lmi_runtime.emulator import EmulatorOptions
from lmi_runtime.emulator.variables import runtime_variables


def variables(inherited: dict[str, str], extra: dict[str, str]) -> dict[str, str]:
    return runtime_variables(
        EmulatorOptions(),
        runtime_api="127.0.0.1:1",
        task_root="/task",
        inherited=inherited,
        extra=extra,
    )


def test_no_sdk_looks_for_credentials_on_the_network_unless_told_to() -> None:
    assert variables({}, {})["AWS_EC2_METADATA_DISABLED"] == "true"
    told = {"AWS_EC2_METADATA_DISABLED": "false"}
    assert variables(told, {})["AWS_EC2_METADATA_DISABLED"] == "false"


def test_nothing_of_another_environment_comes_through_and_the_functions_own_wins() -> None:
    inherited = {"AWS_LAMBDA_RUNTIME_API": "elsewhere", "_X_AMZN_TRACE_ID": "old", "HOME": "/me"}
    made = variables(inherited, {"AWS_REGION": "eu-west-1"})
    assert made["AWS_LAMBDA_RUNTIME_API"] == "127.0.0.1:1"
    assert "_X_AMZN_TRACE_ID" not in made
    assert (made["HOME"], made["AWS_REGION"]) == ("/me", "eu-west-1")


def test_every_address_is_on_this_machine() -> None:
    made = variables({}, {})
    assert made["AWS_XRAY_DAEMON_ADDRESS"].startswith("127.0.0.1:")
    assert made["_AWS_XRAY_DAEMON_ADDRESS"] == "127.0.0.1"
