"""Schedules drawn by Hypothesis: short lists of deviations, drawn before each run."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lmi_runtime.stress.model import Deviation, Schedule

__all__ = ["Enough", "draw_schedules", "quiet", "quiet_settings"]


class Enough(BaseException):
    """Leaves Hypothesis at once; it lets pass what is no `Exception`."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """
    Keep Hypothesis's warnings about its own generators from the user.

    Under control it may take them for garbage (seen on 3.14); nothing here depends on them.

    Thread safety: exploring thread only.
    """
    from hypothesis.errors import HypothesisWarning  # optional dependency

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HypothesisWarning)
        yield


def quiet_settings(tries: int, *, shrink: bool) -> Any:
    """Hypothesis without an opinion on time, health, or what to print."""
    from hypothesis import HealthCheck, Phase, Verbosity, settings  # optional dependency

    return settings(
        max_examples=max(1, tries),
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=tuple(HealthCheck),
        verbosity=Verbosity.quiet,
    )


def draw_schedules(
    points: Sequence[Deviation],
    tries: int,
    seed: int,
    attempt: Callable[[Schedule], bool],
    most: int = 4,
) -> None:
    """
    Hand schedules of up to `most` deviations to `attempt`, until it says True.

    Args:
        points: Deviations to choose from, the most promising first.
        tries: How many schedules at most.
        seed: Repeats the same ones.
        attempt: Runs one; True: no more are wanted. What it raises comes through.
        most: Deviations in one schedule.
    """
    import hypothesis
    from hypothesis import strategies

    if not points:
        return
    raised: list[Exception] = []
    spots = {(each.kind, each.actor, each.visit): index for index, each in enumerate(points)}
    by_spot = strategies.lists(
        strategies.sampled_from(points),
        min_size=1,
        max_size=min(most, len(spots)),
        unique_by=lambda each: (each.kind, each.actor, each.visit),
    )

    def case(schedule: list[Deviation]) -> None:
        try:
            enough = attempt(tuple(schedule))
        except Exception as error:
            raised.append(error)
            raise Enough from error
        if enough:
            raise Enough

    cases = quiet_settings(tries, shrink=False)(hypothesis.given(by_spot)(case))
    try:
        with quiet():
            hypothesis.seed(seed)(cases)()
    except Enough:
        if raised:
            raise raised[0] from None
