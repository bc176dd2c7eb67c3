"""Other people's libraries that need to know of requests. Importing this imports none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmi_runtime._lazy import lazily

if TYPE_CHECKING:
    from lmi_runtime.integrations.patching import Safety
    from lmi_runtime.integrations.safety import make_safe

__all__ = ["Safety", "make_safe"]

__getattr__ = lazily(globals(), {"Safety": "patching", "make_safe": "safety"})
