"""Event sources by the names that the command line has for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from hypothesis.strategies import SearchStrategy

from lmi_runtime.stress.events.http import alb, apigw_v1, apigw_v2, function_url
from lmi_runtime.stress.events.messages import eventbridge, s3, sns, sqs
from lmi_runtime.stress.events.streams import dynamodb, kafka, kinesis

__all__ = ["SOURCES"]

SOURCES: Mapping[str, Callable[[], SearchStrategy[dict[str, Any]]]] = MappingProxyType(
    {
        "apigw-v1": apigw_v1,
        "apigw-v2": apigw_v2,
        "alb": alb,
        "function-url": function_url,
        "sqs": sqs,
        "sns": sns,
        "s3": s3,
        "eventbridge": eventbridge,
        "kinesis": kinesis,
        "dynamodb": dynamodb,
        "kafka": kafka,
    }
)
"""Each makes a strategy with nothing asked of it."""
