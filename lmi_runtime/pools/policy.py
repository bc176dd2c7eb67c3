"""What a pool may do, and what becomes of a connection: decisions without state."""

from __future__ import annotations

# Not where it is used: a child that is forked while a thread imports it waits for it for ever.
import random

from lmi_runtime._facts import Facts
from lmi_runtime.errors import ConfigurationError

__all__ = ["PoolOptions", "lifetime_s", "retry_after_s"]

_FIRST_RETRY_S = 0.05
_LAST_RETRY_S = 1.0


class PoolOptions(Facts):
    """
    The limits of one pool; `Pool` says what each means.

    Raises:
        ConfigurationError: A limit cannot be kept; the text names it.
    """

    max_size: int
    min_size: int = 0
    timeout_s: float = 30.0
    max_waiting: int | None = None
    max_lifetime_s: float | None = 1800.0
    max_idle_s: float | None = 300.0
    bypass_check_s: float = 0.5
    open_timeout_s: float = 30.0
    io_timeout_s: float = 5.0
    leak_after_s: float | None = 60.0
    acknowledge_s: float = 1.0
    tenure_s: float = 0.25
    reset_after_cancel: bool = False

    def __post_init__(self) -> None:
        _at_least("max_size", self.max_size, 1)
        _at_least("min_size", self.min_size, 0)
        if self.min_size > self.max_size:
            raise ConfigurationError(
                f"min_size={self.min_size} is more than max_size={self.max_size}."
            )
        if self.max_waiting is not None:
            _at_least("max_waiting", self.max_waiting, 0)
        for name in ("timeout_s", "bypass_check_s"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name} is negative.")
        for name in (
            "max_lifetime_s",
            "max_idle_s",
            "leak_after_s",
            "io_timeout_s",
            "open_timeout_s",
        ):
            seconds = getattr(self, name)
            if seconds is not None and seconds <= 0:
                raise ConfigurationError(f"{name} has to be above 0, or None for no limit.")


def _at_least(name: str, value: int, least: int) -> None:
    whole: object = value
    if not isinstance(whole, int) or value < least:
        raise ConfigurationError(f"{name}={value!r} is not a whole number of at least {least}.")


def lifetime_s(longest_s: float | None) -> float:
    """
    How long one connection lives: up to a tenth less than the longest.

    Connections that were opened together must not all be replaced together.
    """
    if longest_s is None:
        return float("inf")
    return longest_s * (1.0 - 0.1 * random.random())


def retry_after_s(failures: int) -> float:
    """
    Seconds before the next attempt to open a connection, after so many failures in a row.

    A server that comes back is met by one process's single attempts, not by a wave.
    """
    if failures < 1:
        return 0.0
    longest: float = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(failures - 1, 10))
    return longest * (0.5 + 0.5 * random.random())
