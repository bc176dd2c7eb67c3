"""
Powertools for AWS Lambda, with state that stays each request's own.

`make_safe` changes powertools' classes where they keep a request's state in one object for the
whole process. Code that uses them stays as it is: module-level `Logger`, `Metrics`, `Tracer` and
resolvers go on working, and so do their decorators, around `async def` as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmi_runtime._lazy import lazily
from lmi_runtime.integrations.patching import Safety
from lmi_runtime.integrations.safety import make_safe

if TYPE_CHECKING:
    from lmi_runtime.integrations.powertools.parameters import off_loop

__all__ = ["Safety", "make_safe", "off_loop"]

__getattr__ = lazily(globals(), {"off_loop": "parameters"})
