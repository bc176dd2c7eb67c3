"""What a streamed response looks like that Lambda turns into an HTTP response."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

__all__ = ["HTTP_INTEGRATION_CONTENT_TYPE", "http_prelude"]

HTTP_INTEGRATION_CONTENT_TYPE = "application/vnd.awslambda.http-integration-response"
"""Content type of a stream that begins with `http_prelude`."""

_END_OF_PRELUDE = b"\0" * 8


def http_prelude(
    status: int, headers: Mapping[str, str] | None = None, cookies: Sequence[str] = ()
) -> bytes:
    """
    Build the start of a streamed HTTP response: what comes before the body.

    Args:
        status: HTTP status code.
        headers: HTTP response headers.
        cookies: Values of ``Set-Cookie``, one a cookie.
    """
    prelude: dict[str, object] = {"statusCode": status, "headers": dict(headers or {})}
    if cookies:
        prelude["cookies"] = list(cookies)
    # Escaped to ASCII, so that the JSON cannot contain the NULs that end it.
    return json.dumps(prelude, separators=(",", ":")).encode("ascii") + _END_OF_PRELUDE
