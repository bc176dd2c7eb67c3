"""What moto keeps: its servers share it, all those of a process."""

from __future__ import annotations

from urllib.request import Request, urlopen

__all__ = ["forget_everything"]


def forget_everything(endpoint: str) -> None:
    """Have moto begin anew: what earlier tests made is in every server that is started later."""
    urlopen(Request(f"{endpoint}/moto-api/reset", method="POST"), timeout=10).close()
