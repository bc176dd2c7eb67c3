"""What is compared: runtimes, and the functions they serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["BASELINE", "CONTENDERS", "FUNCTIONS", "FUNCTIONS_DIR", "Contender"]

FUNCTIONS_DIR = Path(__file__).with_name("functions")
FUNCTIONS = ("empty", "heavy")


@dataclass(frozen=True, slots=True)
class Contender:
    """
    One way to serve a function.

    Attributes:
        name: For people and for the command line.
        module: The runtime, started with ``python -m``.
        attribute: Which of a function's two forms it serves, ``plain`` or ``task``.
        options: Arguments after the handler's name.
        env: Variables of its environment.
    """

    name: str
    module: str
    attribute: str
    options: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    def command(self, function: str) -> list[str]:
        """Return the interpreter's arguments that serve *function*."""
        return ["-m", self.module, f"{function}.{self.attribute}", *self.options]


BASELINE = Contender("awslambdaric", "awslambdaric", "plain")
_OURS = (
    Contender("uvloop", "lmi_runtime", "task", env={"LMI_UVLOOP": "1"}),
    Contender("asyncio", "lmi_runtime", "task", env={"LMI_UVLOOP": "0"}),
    Contender("hybrid", "lmi_runtime", "plain", ("--mode", "hybrid"), {"LMI_UVLOOP": "1"}),
    Contender("process", "lmi_runtime", "plain", ("--mode", "process"), {"LMI_UVLOOP": "1"}),
)
CONTENDERS = {contender.name: contender for contender in (BASELINE, *_OURS)}
