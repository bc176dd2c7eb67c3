"""
`@handler`, and the adapters that make every kind of handler look alike.

A handler's name is loaded into a `Target`, the target is made an `Entry`, and the dispatcher
serves invocations with that: bytes in, an outcome out, every fault of one invocation a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmi_runtime._lazy import lazily

if TYPE_CHECKING:
    from lmi_runtime.handlers.codec import Codec, CustomCodec, JsonCodec, Serializer
    from lmi_runtime.handlers.decorator import Handler, handler
    from lmi_runtime.handlers.entry import make_entry
    from lmi_runtime.handlers.faults import failure_of, init_failure_of
    from lmi_runtime.handlers.lifecycle import on_shutdown, run_shutdown_hooks
    from lmi_runtime.handlers.loading import Target, load
    from lmi_runtime.handlers.spec import HandlerSpec, Style, spec_of
    from lmi_runtime.handlers.streaming import HttpHead

__all__ = [
    "Codec",
    "CustomCodec",
    "Handler",
    "HandlerSpec",
    "HttpHead",
    "JsonCodec",
    "Serializer",
    "Style",
    "Target",
    "failure_of",
    "handler",
    "init_failure_of",
    "load",
    "make_entry",
    "on_shutdown",
    "run_shutdown_hooks",
    "spec_of",
]

_FROM = {
    "Codec": "codec",
    "CustomCodec": "codec",
    "Handler": "decorator",
    "HandlerSpec": "spec",
    "HttpHead": "streaming",
    "JsonCodec": "codec",
    "Serializer": "codec",
    "Style": "spec",
    "Target": "loading",
    "failure_of": "faults",
    "handler": "decorator",
    "init_failure_of": "faults",
    "load": "loading",
    "make_entry": "entry",
    "on_shutdown": "lifecycle",
    "run_shutdown_hooks": "lifecycle",
    "spec_of": "spec",
}


__getattr__ = lazily(globals(), _FROM)
