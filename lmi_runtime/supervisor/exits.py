"""How a process ended, in words. Pure."""

from __future__ import annotations

import os
import signal

from lmi_runtime.supervisor.policy import EXIT_UNREACHABLE

__all__ = ["explain_exit"]

_HINTS = {
    signal.SIGKILL: "the kernel does this when memory runs out",
    signal.SIGSEGV: "native code touched memory it does not own",
    signal.SIGABRT: "native code gave up, or Python met a fatal error",
    signal.SIGBUS: "native code touched memory that is not there",
    signal.SIGILL: "native code was built for another processor",
}


def explain_exit(status: int | None) -> str:
    """
    A phrase that completes "the worker ...".

    Args:
        status: What `os.waitpid` returned, or None when somebody else collected it.
    """
    if status is None:
        return "ended, and something else in this process collected its exit status"
    if os.WIFSIGNALED(status):
        return _explain_signal(os.WTERMSIG(status))
    return _explain_code(os.waitstatus_to_exitcode(status))


def _explain_signal(number: int) -> str:
    try:
        known = signal.Signals(number)
    except ValueError:
        return f"was killed by signal {number}"
    hint = _HINTS.get(known)
    return f"was killed by {known.name}" + (f" ({hint})" if hint else "")


def _explain_code(code: int) -> str:
    if code == EXIT_UNREACHABLE:
        return "left because the Runtime API is gone"
    if code == 0:
        return "exited with code 0 although nobody asked it to (does something call os._exit?)"
    return f"exited with code {code} (sys.exit, os._exit or an exception nobody caught)"
