"""How many examples a property is worth."""

from __future__ import annotations

from hypothesis import settings

__all__ = ["few"]


def few() -> settings:
    """
    A quarter of the examples of the profile, and less than half the steps.

    For a property whose examples are expensive, and that a few of them show to be broken.
    """
    usual = settings.default
    assert usual is not None
    return settings(max_examples=max(1, usual.max_examples // 4), stateful_step_count=20)
