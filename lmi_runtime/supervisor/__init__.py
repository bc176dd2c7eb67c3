"""Start, watch, replace and stop worker processes."""

from lmi_runtime.supervisor.ledger import InFlight, LedgerReading, SharedLedger
from lmi_runtime.supervisor.link import Order, WorkerLink
from lmi_runtime.supervisor.policy import (
    EXIT_REPLACE,
    EXIT_STOPPED,
    EXIT_UNREACHABLE,
    RestartRules,
)
from lmi_runtime.supervisor.shares import WorkerPlan, plan, split
from lmi_runtime.supervisor.supervisor import Supervisor, SupervisorHooks, SupervisorStatistics
from lmi_runtime.supervisor.workers import Body

__all__ = [
    "EXIT_REPLACE",
    "EXIT_STOPPED",
    "EXIT_UNREACHABLE",
    "Body",
    "InFlight",
    "LedgerReading",
    "Order",
    "RestartRules",
    "SharedLedger",
    "Supervisor",
    "SupervisorHooks",
    "SupervisorStatistics",
    "WorkerLink",
    "WorkerPlan",
    "plan",
    "split",
]
