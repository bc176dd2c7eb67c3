"""The usual mend for each kind of fault."""

from __future__ import annotations

from typing import Final

__all__ = ["HINTS", "hint"]

HINTS: Final[dict[str, str]] = {
    "isolation.result": (
        "Keep what belongs to one request in local variables or in `RequestScope`, and ask "
        "`current()` for the request instead of a module global."
    ),
    "isolation.log": (
        "Take request facts for log lines from `current()`, not from a logger or formatter "
        "that all invocations change."
    ),
    "isolation.cache": "Put the tenant into the key, or use `Cache`, which can be scoped by it.",
    "isolation.file": "Use `request_tmpdir()`, a directory of the request's own.",
    "isolation.error": (
        "Raise a new exception in each invocation; one that is kept in a module carries the "
        "traceback and the arguments of another request."
    ),
    "serial.state": (
        "Hold one lock around the whole read, decision and write, or use `Cache`, which "
        "computes once a key."
    ),
    "serial.result": (
        "Look for state that several invocations share: hold one lock around read and write, "
        "or keep it in `RequestScope`."
    ),
    "serial.order": (
        "Invocations saw each other half-way: hold one lock around all that has to happen as one."
    ),
    "exception": (
        "Something was changed between a check and its use: hold one lock around both, or do "
        "both in one step, such as `dict.pop(key, None)`."
    ),
    "deadlock": "Take locks in the same order everywhere, or make one lock of them.",
    "deadlock.await": (
        "Do not hold a `threading.Lock` across `await`; use `asyncio.Lock`, or let go before."
    ),
    "livelock": "Wait on a `Condition` or an `Event` instead of asking again and again.",
    "invariant": "Hold one lock around everything that breaks the invariant for a moment.",
    "deadline": (
        "Give back in `finally` or `with` what was taken before an `await`; cancellation "
        "arrives there."
    ),
    "linearizability": "Make each method one step: one lock, taken first and released last.",
    "environment.environ": (
        "Hand the value on as an argument or in a `ContextVar`; the environment belongs to all "
        "invocations of the process."
    ),
    "environment.directory": "Use absolute paths; the current directory belongs to the process.",
    "environment.file": (
        "Use `request_tmpdir()`, or write to a file made by `tempfile` and move it into place "
        "with `os.replace`."
    ),
    "environment.random": (
        "Make a generator of your own, `random.Random(seed)`; the one behind the module's "
        "functions belongs to all invocations."
    ),
    "environment.locale": (
        "Format with a library that takes the locale as an argument; the process has one only."
    ),
    "environment.umask": "Give the mode to `os.open` or `os.chmod`; the process has one umask.",
    "environment.signal": "Set signal handlers once, when the module is imported.",
    "environment.decimal": "Use `decimal.localcontext()`.",
    "environment.warnings": (
        "Set warning filters once, when the module is imported; `catch_warnings` changes the "
        "filters of all invocations."
    ),
    "environment.stream": (
        "Write to a stream that is handed on; `redirect_stdout` redirects all invocations."
    ),
    "environment.logging": "Configure logging once, when the module is imported.",
    "environment": "Set it once, when the module is imported; it belongs to the whole process.",
    "leak.thread": "Use one executor for all invocations, or join what an invocation starts.",
    "leak.task": "Await tasks before returning: `asyncio.TaskGroup` does.",
    "leak.descriptor": "Close it with `with`, or share one client between invocations.",
    "leak.file": "Use `request_tmpdir()`, which goes when the request ends.",
    "leak.handler": "Add handlers once, when the module is imported.",
    "leak.lease": "Lease with `with`, so that an exception or a deadline gives it back, too.",
    "leak.context": "Reset the variable with its token in `finally`, or use `RequestScope`.",
    "leak.growth": (
        "Bound it: `Cache` with a size and an expiry, `functools.lru_cache(maxsize=...)` or "
        "`collections.deque(maxlen=...)`; or keep it in `RequestScope`."
    ),
}
"""By kind; the part before the dot is the oracle's name."""


def hint(kind: str) -> str:
    """
    The usual mend, one sentence.

    Args:
        kind: A key of `HINTS`; of one that is not there, the part before the dot counts.

    Returns:
        An empty string if there is none.
    """
    return HINTS.get(kind) or HINTS.get(kind.partition(".")[0], "")
