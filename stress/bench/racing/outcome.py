"""What a race checker says about one program."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

__all__ = ["REPLAYS", "Budget", "Outcome", "Subject", "Verdict"]

Verdict = Literal["found", "pass", "inconclusive", "error"]

REPLAYS = 20
"""How often a counterexample is run again."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a checker may spend on one program: runs of it, and real seconds."""

    schedules: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    One checker on one program.

    Attributes:
        verdict: ``pass`` is a claim, ``inconclusive`` is none.
        schedules: Runs of the program until the verdict was there, shrinking included.
        to_failure: Runs until the first failure; None where the checker does not say.
        seconds: Real seconds for the same.
        preemptions: Of the counterexample; None where the checker has no such notion.
        gil_preemptions: The same for the counterexample that a build with the GIL can run.
        builds: On which builds the counterexample can happen, where the checker says so.
        claims_minimal: The checker says that no smaller counterexample exists.
        replayed: Of 20 repetitions, how many failed in the same way; None: not repeated.
        bound: For ``pass``: what was exhausted, in words.
        detail: What failed, or why there is no verdict.
    """

    verdict: Verdict
    schedules: int = 0
    to_failure: int | None = None
    seconds: float = 0.0
    preemptions: int | None = None
    gil_preemptions: int | None = None
    builds: tuple[str, ...] = ()
    claims_minimal: bool | None = None
    replayed: int | None = None
    bound: str = ""
    detail: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Outcome:
        """The reverse of `plain`."""
        return cls(**{**plain, "builds": tuple(plain["builds"])})


class Subject:
    """
    A program, loaded from its file when it is first needed.

    A checker that controls the import asks for the module when it is in control, so that locks
    made at import are its own.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self.kind = kind
        self._module: ModuleType | None = None

    @property
    def module(self) -> Any:
        """The module, executed once."""
        if self._module is None:
            module = ModuleType(self.path.stem)
            module.__file__ = str(self.path)
            # Not by importlib: its locks would be of the program's making.
            exec(compile(self.path.read_text(), str(self.path), "exec"), module.__dict__)
            self._module = module
        return self._module
