"""powertools' Logger, made safe, with its lines in a list."""

from __future__ import annotations

import io
import itertools
import json
from typing import Any

from aws_lambda_powertools import Logger

__all__ = ["Lines", "make_logger", "plain_keys"]

_numbers = itertools.count()


class Lines(io.StringIO):
    """What loggers wrote."""

    def __iter__(self) -> Any:
        return iter([json.loads(line) for line in self.getvalue().splitlines()])

    def messages(self) -> list[Any]:
        return [line["message"] for line in self]


def make_logger(lines: Lines | None = None, **options: Any) -> Logger:
    """One that no other test knows."""
    options.setdefault("service", f"service-{next(_numbers)}")
    return Logger(stream=lines if lines is not None else Lines(), **options)


def plain_keys(logger: Logger) -> dict[str, Any]:
    """The keys that were added to those that every line has."""
    ordinary = {"level", "location", "message", "timestamp", "service", "sampling_rate"}
    keys = logger.get_current_keys()
    return {key: value for key, value in keys.items() if key not in ordinary}
