"""How values become bytes, and bytes values again. Never by pickling: that would run code."""

from __future__ import annotations

import importlib
from typing import Any, Literal, Protocol

from lmi_runtime.errors import ConfigurationError

__all__ = ["Codec", "CodecName", "codec_of"]

CodecName = Literal["json", "msgpack", "bytes"]


class Codec(Protocol):
    """
    Makes bytes of values. What it raises reaches whoever stores a value; a value whose bytes it
    cannot read is loaded again.

    Thread safety: both from any thread, several at once.
    """

    def encode(self, value: Any, /) -> bytes: ...

    def decode(self, data: bytes, /) -> Any: ...


class _JsonCodec:
    def __init__(self) -> None:
        import json

        encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
        self._dumps = encoder.encode
        self.decode = json.loads

    def encode(self, value: Any, /) -> bytes:
        return self._dumps(value).encode("utf-8", "surrogatepass")


class _MsgpackCodec:
    def __init__(self) -> None:
        msgpack = importlib.import_module("msgpack")
        self._packb = msgpack.packb
        self._unpackb = msgpack.unpackb

    def encode(self, value: Any, /) -> bytes:
        packed: bytes = self._packb(value, use_bin_type=True)
        return packed

    def decode(self, data: bytes, /) -> Any:
        return self._unpackb(data, raw=False, strict_map_key=False)


class _BytesCodec:
    def encode(self, value: Any, /) -> bytes:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise TypeError(f"This cache keeps bytes, not {type(value).__name__}.")
        return bytes(value)

    def decode(self, data: bytes, /) -> bytes:
        return data


def codec_of(name: CodecName | Codec) -> Codec:
    """
    The codec of that name, or what was given instead of one.

    Raises:
        ConfigurationError: There is none of that name.
        ImportError: ``msgpack`` is not installed.
    """
    match name:
        case "json":
            return _JsonCodec()
        case "msgpack":
            return _MsgpackCodec()
        case "bytes":
            return _BytesCodec()
        case str():
            raise ConfigurationError(
                f"codec must be 'json', 'msgpack', 'bytes' or a Codec, not {name!r}"
            )
    return name
