"""What searches may spend here."""

from __future__ import annotations

__all__ = ["AMPLE_S"]

AMPLE_S = 3600.0
"""Real seconds of a search that is to end by what it was asked to try, on any machine."""
