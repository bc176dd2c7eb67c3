"""
Chance that repeats.

In a run every actor draws from a generator of its own, so that what an invocation draws does not
depend on who ran before it: otherwise every interleaving would look like a different result.
"""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import Callable
from typing import Any

from lmi_runtime.stress.control.active import caller, stage

__all__ = ["REPLACEMENTS"]

_DRAWN = (
    "betavariate",
    "choice",
    "choices",
    "expovariate",
    "gauss",
    "getrandbits",
    "getstate",
    "lognormvariate",
    "normalvariate",
    "paretovariate",
    "randbytes",
    "randint",
    "random",
    "randrange",
    "sample",
    "seed",
    "setstate",
    "shuffle",
    "triangular",
    "uniform",
    "vonmisesvariate",
    "weibullvariate",
)


_SHARES = ("seed", "setstate")


def _generator() -> random.Random | None:
    here = caller()
    if here is None:
        before = stage()
        return None if before is None else before.chance
    run, actor = here
    if run.seeded is not None:
        return run.seeded
    generator = run.chances.get(actor.speaker)
    if generator is None:
        generator = run.chances[actor.speaker] = random.Random(actor.speaker)
    return generator


def _of_module(name: str) -> Callable[..., Any]:
    real = getattr(random, name)

    def draw(*args: Any, **kwargs: Any) -> Any:
        here = caller()
        if here is not None and name in _SHARES:
            # Who sets the process's generator shares it with everybody.
            here[0].seeded = here[0].seeded or random.Random(0)
        generator = _generator()
        if generator is None:
            return real(*args, **kwargs)
        return getattr(generator, name)(*args, **kwargs)

    draw.__name__ = name
    return draw


def _urandom(real: Callable[[int], bytes]) -> Callable[[int], bytes]:
    def urandom(size: int, /) -> bytes:
        generator = _generator()
        return real(size) if generator is None else generator.randbytes(size)

    return urandom


def _uuid4(real: Callable[[], uuid.UUID]) -> Callable[[], uuid.UUID]:
    def uuid4() -> uuid.UUID:
        generator = _generator()
        if generator is None:
            return real()
        return uuid.UUID(bytes=generator.randbytes(16), version=4)

    return uuid4


REPLACEMENTS: dict[Any, Any] = {
    os.urandom: _urandom(os.urandom),
    uuid.uuid4: _uuid4(uuid.uuid4),
    **{getattr(random, name): _of_module(name) for name in _DRAWN},
}
"""The standard library's function: what stands in for it."""
