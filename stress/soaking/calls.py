"""What is asked of the function, and whether an answer is the right one. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random

from lmi_runtime.emulator import Answer

__all__ = ["ACTS", "FORMS", "Call", "acts_of", "draw", "heaviest", "judge", "longest"]

FORMS = ("task", "thread", "stream", "thread_stream")

_STREAMS = frozenset({"stream", "thread_stream"})

ACTS = {
    "echo": 700,
    "pause": 150,
    "ballast": 20,
    "fail": 50,
    "exit": 10,
    "cancel": 10,
    "gone": 50,
    "unencodable": 10,
    "fail_midway": 20,
    "oversized": 1,
    "late": 2,
}
"""How often each is drawn, in relation to the others."""

_ERRORS = {
    "fail": "Function.Refusal",
    "fail_midway": "Function.Refusal",
    "exit": "Function.SystemExit",
    "cancel": "Function.CancelledError",
    "unencodable": "Runtime.MarshalError",
    "oversized": "Function.ResponseSizeTooLarge",
    "late": "Function.DeadlineExceeded",
}
_TIMED_OUT = "Sandbox.Timedout"
_CARRY_THE_NONCE = frozenset({"fail", "fail_midway", "exit"})
_MAX_PAUSE_S = 0.02
_MAX_BALLAST_BYTES = 300_000


@dataclass(frozen=True, slots=True)
class Call:
    """
    One invocation.

    Attributes:
        nonce: Unique in a run; also its request id.
        act: What the function shall do, a key of `ACTS`.
        wait_s: Seconds the function waits first.
        ballast: Bytes its result is padded with.
        leave_after_s: Seconds after which the caller hangs up, or None.
    """

    nonce: str
    act: str
    wait_s: float = 0.0
    ballast: int = 0
    leave_after_s: float | None = None

    @property
    def event(self) -> bytes:
        """The body of the call."""
        facts = {
            "nonce": self.nonce,
            "act": self.act,
            "wait_s": self.wait_s,
            "ballast": self.ballast,
        }
        return json.dumps(facts).encode()


def acts_of(form: str) -> tuple[str, ...]:
    """Return what can be asked of *form*: a stream has no size limit here, and no encoder."""
    left_out = {"unencodable", "oversized"} if form in _STREAMS else {"fail_midway"}
    return tuple(act for act in ACTS if act not in left_out)


def draw(dice: Random, form: str, number: int, *, timeout_s: float) -> Call:
    """
    Return the next call.

    Args:
        dice: Decides.
        form: Form of the function.
        number: Makes the nonce unique.
        timeout_s: Time-out of the function; a late call goes beyond it.
    """
    acts = acts_of(form)
    act = dice.choices(acts, [ACTS[name] for name in acts])[0]
    nonce = f"{form}-{number}-{dice.getrandbits(32):08x}"
    match act:
        case "pause":
            return Call(nonce, act, wait_s=dice.uniform(0, _MAX_PAUSE_S))
        case "gone":
            wait_s = dice.uniform(0, _MAX_PAUSE_S)
            return Call(nonce, act, wait_s=wait_s, leave_after_s=dice.uniform(0, wait_s))
        case "ballast":
            return Call(nonce, act, ballast=dice.randrange(_MAX_BALLAST_BYTES))
        case "late":
            return Call(nonce, act, wait_s=timeout_s + 0.2)
    return Call(nonce, act)


def heaviest(form: str, nonce: str) -> Call:
    """Return the call that takes *form* most memory."""
    return Call(nonce, "ballast" if form in _STREAMS else "oversized", ballast=_MAX_BALLAST_BYTES)


def longest(nonce: str) -> Call:
    """Return a call that keeps all it needs, a thread for example, until others have come."""
    return Call(nonce, "ballast", wait_s=0.05, ballast=_MAX_BALLAST_BYTES)


def judge(call: Call, answer: Answer) -> str | None:
    """Return what is wrong with *answer*, or None if it is the one that *call* deserves."""
    expected = _ERRORS.get(call.act)
    if call.act == "late" and answer.error_type == _TIMED_OUT:
        return None
    if answer.error_type != expected:
        return f"{call}: error type {answer.error_type}, not {expected}: {answer.body[:300]!r}"
    if expected is None:
        return _judge_result(call, answer)
    if call.act in _CARRY_THE_NONCE and call.nonce.encode() not in answer.body:
        return f"{call}: the error of another call: {answer.body[:300]!r}"
    return None


def _judge_result(call: Call, answer: Answer) -> str | None:
    right = {
        "nonce": call.nonce,
        "seen": call.nonce,
        "request_id": call.nonce,
        "leaked": None,
        "ballast": "b" * call.ballast,
    }
    try:
        wrong = json.loads(answer.body) != right
    except ValueError:
        wrong = True
    return f"{call}: result {answer.body[:300]!r}" if wrong else None
