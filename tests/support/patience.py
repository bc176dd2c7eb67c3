"""How long tests wait for what should happen at once."""

from __future__ import annotations

__all__ = ["PATIENCE_S"]

PATIENCE_S = 60.0
"""
Seconds until a test gives something up for lost.

Machines that run tests stand still for seconds now and then. A limit that only ends what hangs
costs nothing when things go well, so every such limit is this one.
"""
