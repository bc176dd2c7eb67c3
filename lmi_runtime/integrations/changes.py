"""What is changed in other people's packages: a line for each module; see `Change`."""

from __future__ import annotations

from lmi_runtime.integrations.patching import Change

__all__ = [
    "BOTOCORE",
    "LOWEST_POWERTOOLS",
    "NEWEST_POWERTOOLS",
    "POWERTOOLS",
    "POWERTOOLS_PACKAGE",
    "XRAY",
    "XRAY_PACKAGE",
]

POWERTOOLS_PACKAGE = "aws_lambda_powertools"
XRAY_PACKAGE = "aws_xray_sdk"

LOWEST_POWERTOOLS = (3, 23)
"""The first version this was tested with."""
NEWEST_POWERTOOLS = (3, 37)
"""The last one; its patch releases are taken to be the same."""

_OURS = "lmi_runtime.integrations"


def _powertools(utility: str, module: str, made_by: str) -> Change:
    return Change(utility, f"{POWERTOOLS_PACKAGE}.{module}", f"{_OURS}.powertools.{made_by}")


POWERTOOLS: tuple[Change, ...] = (
    _powertools("Logger", "logging.formatter", "logger_keys:make_formatter_safe"),
    _powertools("Logger", "logging.logger", "logger:make_logger_safe"),
    _powertools("Logger sampling", "logging.logger", "logger_levels:make_sampling_safe"),
    _powertools("Logger buffering", "logging.buffer.cache", "logger_buffer:make_cache_safe"),
    _powertools("Logger buffering", "logging.logger", "logger_buffer:make_buffer_safe"),
    _powertools("Logger for other libraries", "logging.utils", "logger:make_utils_safe"),
    _powertools(
        "Idempotency", "utilities.idempotency.persistence.base", "idempotency:isolate_stores"
    ),
    _powertools("Idempotency", "utilities.idempotency.config", "idempotency:isolate_configs"),
    _powertools("Idempotency", "utilities.idempotency.base", "idempotency:isolate_calls"),
    _powertools("Idempotency", "utilities.idempotency.idempotency", "idempotency:see_invocations"),
    _powertools("Metrics", "metrics.provider.base", "metrics:isolate_providers"),
    _powertools("Metrics", "metrics.base", "metrics:isolate_managers"),
    _powertools(
        "Metrics", "metrics.provider.cloudwatch_emf.cloudwatch", "metrics:isolate_cloudwatch"
    ),
    _powertools("Metrics", "metrics.metrics", "metrics:isolate_metrics"),
    _powertools("DatadogMetrics", "metrics.provider.datadog.datadog", "metrics:isolate_datadog"),
    _powertools(
        "DatadogMetrics", "metrics.provider.datadog.metrics", "metrics:isolate_datadog_metrics"
    ),
    _powertools("Event handler", "event_handler.api_gateway", "routing:isolate_resolvers"),
    _powertools(
        "Event handler: merged schemas",
        "event_handler.openapi.merge",
        "routing:isolate_merged_schemas",
    ),
    _powertools(
        "Event handler: resolve_async",
        "event_handler.middlewares.async_utils",
        "middlewares:free_the_executor",
    ),
    _powertools("HttpResolverLocal", "event_handler.http_resolver", "http:isolate_http_resolver"),
    _powertools("Batch", "utilities.batch.base", "batch:change"),
    _powertools("Batch", "utilities.batch.decorators", "batch_functions:change"),
    _powertools("Tracer", "tracing.tracer", "tracer:isolate_tracers"),
    _powertools("Parameters", "utilities.parameters.base", "parameter_providers:share_fetches"),
    _powertools("Parameters", "utilities.parameters.ssm", "parameter_providers:share_batches"),
    _powertools("Parameters", "utilities.parameters.secrets", "parameter_providers:share_secrets"),
    _powertools("Parameters", "utilities.parameters.appconfig", "parameter_providers:own_tokens"),
    _powertools(
        "Parameters",
        "utilities.parameters.appconfig",
        "parameter_defaults:share_app_config_provider",
    ),
    _powertools(
        "Parameters", "utilities.parameters.constants", "parameter_defaults:share_default_providers"
    ),
    _powertools(
        "Feature flags", "utilities.feature_flags.appconfig", "feature_flags:share_documents"
    ),
    _powertools(
        "Feature flags", "utilities.feature_flags.feature_flags", "feature_flags:copy_answers"
    ),
    _powertools("AppSync", "event_handler.appsync", "appsync:isolate_resolvers"),
    _powertools(
        "AppSync Events",
        "event_handler.events_appsync.appsync_events",
        "appsync_events:isolate_resolvers",
    ),
    _powertools(
        "Bedrock agent functions",
        "event_handler.bedrock_agent_function",
        "bedrock:isolate_functions",
    ),
    _powertools(
        "Circuit breaker",
        "utilities.circuit_breaker.base",
        "circuit_breaker:count_what_is_awaited",
    ),
    _powertools("Parser cache", "utilities.parser.functions", "parsing:lock_cache"),
    _powertools(
        "Middleware factory", "middleware_factory.factory", "middleware_factory:await_handlers"
    ),
    _powertools("Batch", "utilities.batch.decorators", "middleware_factory:remake"),
    _powertools("Validation", "utilities.validation.validator", "middleware_factory:remake"),
    _powertools("Parser", "utilities.parser.parser", "middleware_factory:remake"),
    _powertools(
        "Event sources", "utilities.data_classes.event_source", "middleware_factory:remake"
    ),
    _powertools("Kafka consumer", "utilities.kafka.kafka_consumer", "middleware_factory:remake"),
)

XRAY: tuple[Change, ...] = (
    Change("X-Ray", f"{XRAY_PACKAGE}.core.recorder", f"{_OURS}.xray.recorder:isolate_recorder"),
    Change(
        "X-Ray AsyncContext",
        f"{XRAY_PACKAGE}.core.async_context",
        f"{_OURS}.xray.contexts:isolate_async_context",
    ),
)

BOTOCORE: tuple[Change, ...] = (
    Change("boto3 trace header", "botocore.handlers", f"{_OURS}.boto.headers:follow_requests"),
    Change("boto3 session", "botocore.session", f"{_OURS}.boto.sessions:make_one_at_a_time"),
    Change("boto3 default session", "boto3", f"{_OURS}.boto.sessions:share_default_session"),
    Change("boto3 S3 transfer", "s3transfer.futures", f"{_OURS}.boto.transfers:carry_requests"),
)
