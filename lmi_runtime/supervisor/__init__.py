"""Start, watch, replace and stop worker processes."""

from lmi_runtime.supervisor.ledger import InFlight, LedgerReading, SharedLedger
from lmi_runtime.supervisor.link import Order, WorkerLink
from lmi_runtime.supervisor.policy import (
    EXIT_REPLACE,
    EXIT_STOPPED,
    EXIT_UNREACHABLE,
    RestartRules,
)
from lmi_runtime.supervisor.preload import (
    PRELOAD_VARIABLE,
    Footprint,
    Reexec,
    Verdict,
    freeze_for_fork,
    judge_preload,
    plan_reexec,
    preload_allowed,
    take_footprint,
)
from lmi_runtime.supervisor.shares import WorkerPlan, plan, split
from lmi_runtime.supervisor.supervisor import Supervisor, SupervisorHooks, SupervisorStatistics
from lmi_runtime.supervisor.vcpus import VcpuCount, detect_vcpus
from lmi_runtime.supervisor.workers import Body

__all__ = [
    "EXIT_REPLACE",
    "EXIT_STOPPED",
    "EXIT_UNREACHABLE",
    "PRELOAD_VARIABLE",
    "Body",
    "Footprint",
    "InFlight",
    "LedgerReading",
    "Order",
    "Reexec",
    "RestartRules",
    "SharedLedger",
    "Supervisor",
    "SupervisorHooks",
    "SupervisorStatistics",
    "VcpuCount",
    "Verdict",
    "WorkerLink",
    "WorkerPlan",
    "detect_vcpus",
    "freeze_for_fork",
    "judge_preload",
    "plan",
    "plan_reexec",
    "preload_allowed",
    "split",
    "take_footprint",
]
