"""OpenTelemetry: a span for each invocation, with the right parent. Needs the API and an SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmi_runtime._lazy import lazily

if TYPE_CHECKING:
    from lmi_runtime.integrations.opentelemetry.attributes import lambda_resource
    from lmi_runtime.integrations.opentelemetry.spans import traced

__all__ = ["lambda_resource", "traced"]

__getattr__ = lazily(globals(), {"lambda_resource": "attributes", "traced": "spans"})
