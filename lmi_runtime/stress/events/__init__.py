"""Hypothesis strategies for Lambda events, and the marks that tell invocations apart."""

from lmi_runtime.stress.events.http import alb, apigw_v1, apigw_v2, function_url
from lmi_runtime.stress.events.marking import mark
from lmi_runtime.stress.events.messages import eventbridge, s3, sns, sqs
from lmi_runtime.stress.events.recorded import load_events, recorded
from lmi_runtime.stress.events.schema import json_schema
from lmi_runtime.stress.events.sources import SOURCES
from lmi_runtime.stress.events.streams import dynamodb, kafka, kinesis

__all__ = [
    "SOURCES",
    "alb",
    "apigw_v1",
    "apigw_v2",
    "dynamodb",
    "eventbridge",
    "function_url",
    "json_schema",
    "kafka",
    "kinesis",
    "load_events",
    "mark",
    "recorded",
    "s3",
    "sns",
    "sqs",
]
