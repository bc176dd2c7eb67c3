"""One exception for many: each caller is given one that nobody else changes."""

from __future__ import annotations

import copy
from types import TracebackType

__all__ = ["own_copy"]


def own_copy(error: Exception, traceback: TracebackType | None) -> Exception:
    """
    A copy of `error` to be raised by one caller, that points to `traceback`.

    Raising adds to an exception's traceback and sets its context: of one object that many raise,
    the traceback would grow with every caller. Exceptions that cannot be copied truly are
    returned as they are, with the traceback put back.
    """
    mine = _copied(error)
    if mine is not error:
        mine.__cause__ = error.__cause__
        mine.__context__ = error.__context__
        mine.__suppress_context__ = error.__suppress_context__
    return mine.with_traceback(traceback)


def _copied(error: Exception) -> Exception:
    try:
        mine = copy.copy(error)
    except Exception:  # what a user's class does here is anybody's guess
        return error
    if type(mine) is not type(error) or len(mine.args) != len(error.args):
        return error
    # A class that makes its message from its arguments would have made another one of it.
    same = all(a is b for a, b in zip(mine.args, error.args, strict=True))
    return mine if same else error
