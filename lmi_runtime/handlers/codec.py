"""
Events in, results out: bytes to values and back.

The default equals awslambdaric's marshaller byte for byte on the same value. That one is built
on simplejson; this one uses the standard library's C encoder for plain values and `_exact` for
the rest, and so needs no dependency.
"""

from __future__ import annotations

import json
import json.encoder
import marshal
import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from lmi_runtime.errors import ConfigurationError, MarshalError, UnmarshalError
from lmi_runtime.handlers._exact import encode_exact

__all__ = ["BYTES", "JSON", "Codec", "CustomCodec", "JsonCodec", "Serializer", "codec_for"]

JSON = "application/json"
"""Content type of events that are decoded, and of encoded results."""

BYTES = "application/unknown"
"""Content type of a result that was bytes already; the name is awslambdaric's."""

_UNESCAPED_RUNTIMES = frozenset(f"AWS_Lambda_python3.{minor}" for minor in (12, 13, 14, 15))


class Codec(Protocol):
    """Turns event bytes into a value and a result into bytes. Stateless: any thread."""

    def decode(self, body: bytes, content_type: str) -> Any:
        """
        Return the event.

        Raises:
            UnmarshalError: The bytes are not what the content type says.
        """
        ...

    def encode(self, result: Any) -> tuple[bytes, str]:
        """
        Return the bytes of `result` and their content type.

        Raises:
            MarshalError: It has no encoded form.
        """
        ...


@runtime_checkable
class Serializer(Protocol):
    """
    What ``@handler(serializer=...)`` takes: anything with `dumps`, such as the orjson module.

    A `loads(bytes)` beside it decodes the events as well.
    """

    def dumps(self, value: Any, /) -> bytes | str:
        """Encode a result as JSON."""
        ...


class JsonCodec:
    """
    The default: what awslambdaric does, byte for byte.

    Args:
        ensure_ascii: Escape everything that is not ASCII. None follows ``AWS_EXECUTION_ENV``
            as awslambdaric does: only AWS's own images for Python 3.12 and later do not escape.

    Thread safety: every method, from any thread; nothing in it changes.
    """

    __slots__ = ("_encode_plain", "_quote")

    def __init__(self, *, ensure_ascii: bool | None = None) -> None:
        if ensure_ascii is None:
            ensure_ascii = escapes_non_ascii(os.environ)
        encoder = json.encoder
        self._quote: Callable[[str], str] = (
            encoder.encode_basestring_ascii if ensure_ascii else encoder.encode_basestring
        )
        self._encode_plain = _plain_encoder(self._quote)

    def decode(self, body: bytes, content_type: str = JSON) -> Any:
        """Return the event: decoded JSON, or the bytes as they came for other content types."""
        if content_type != JSON:
            return body
        try:
            text = str(body, "utf-8")
            try:
                value, end = _scan(text, 0)
            except StopIteration:
                return _decode_whole(text)
            return value if end == len(text) else _decode_whole(text)
        except Exception as exc:
            raise UnmarshalError(f"Unable to unmarshal input: {exc}") from exc

    def encode(self, result: Any) -> tuple[bytes, str]:
        """Return JSON in UTF-8; bytes go out as they are."""
        if isinstance(result, bytes):
            return result, BYTES
        try:
            return self._text(result).encode(), JSON
        except Exception as exc:
            raise MarshalError(f"Unable to marshal response: {exc}") from exc

    def _text(self, result: Any) -> str:
        try:
            # Marshalling is a check, its output is dropped: it takes exact builtin types only
            # and no container inside itself, looks at every part, and does so in C. What it
            # refuses, the C encoder might write differently than simplejson does.
            marshal.dumps(result, 2)
            return "".join(self._encode_plain(result, 0))
        except Exception:
            # The exact encoder also words the error, should there be one.
            return encode_exact(result, self._quote)


class CustomCodec:
    """
    Encodes with a serializer the user chose; decodes with its `loads` when it has one.

    Thread safety: as safe as the serializer, which is called from any thread.
    """

    __slots__ = ("_decode", "_dumps", "_loads")

    def __init__(
        self, dumps: Callable[[Any], bytes | str], loads: Callable[[bytes], Any] | None = None
    ) -> None:
        self._dumps = dumps
        self._loads = loads
        self._decode = JsonCodec().decode

    def decode(self, body: bytes, content_type: str = JSON) -> Any:
        """Return the event: decoded JSON, or the bytes as they came for other content types."""
        if self._loads is None or content_type != JSON:
            return self._decode(body, content_type)
        try:
            return self._loads(body)
        except Exception as exc:
            raise UnmarshalError(f"Unable to unmarshal input: {exc}") from exc

    def encode(self, result: Any) -> tuple[bytes, str]:
        """Return what the serializer makes of `result`; bytes go out as they are."""
        if isinstance(result, bytes):
            return result, BYTES
        try:
            encoded = self._dumps(result)
            body = encoded.encode() if isinstance(encoded, str) else bytes(encoded)
        except Exception as exc:
            raise MarshalError(f"Unable to marshal response: {exc}") from exc
        return body, JSON


def codec_for(serializer: object) -> Codec:
    """
    Return the codec for what a user passed as ``serializer=``.

    Args:
        serializer: None or ``"json"``, ``"orjson"``, an object or module with `dumps` and
            perhaps `loads`, or a callable that encodes.

    Raises:
        ConfigurationError: It is none of these, or orjson is not installed.
    """
    if serializer is None or serializer == "json":
        return JsonCodec()
    if serializer == "orjson":
        serializer = _import_orjson()
    dumps = getattr(serializer, "dumps", None)
    if callable(dumps):
        return CustomCodec(dumps, getattr(serializer, "loads", None))
    if callable(serializer):
        return CustomCodec(serializer)
    raise ConfigurationError(
        f"serializer={serializer!r} cannot encode. Pass 'json', 'orjson', an object with a "
        "`dumps` method, or a function that takes a value and returns bytes."
    )


def escapes_non_ascii(environ: Mapping[str, str]) -> bool:
    """Whether awslambdaric would escape non-ASCII text in this environment."""
    return environ.get("AWS_EXECUTION_ENV") not in _UNESCAPED_RUNTIMES


def _import_orjson() -> object:
    try:
        import orjson
    except ImportError:
        raise ConfigurationError(
            "serializer='orjson' needs the orjson package: pip install 'lmi_runtime[orjson]'."
        ) from None
    return orjson


def _plain_encoder(quote: Callable[[str], str]) -> Callable[[Any, int], tuple[str, ...]]:
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # not CPython
        return _refuse
    # No markers: what is inside itself never gets here. No state, so one serves all threads.
    plain: Callable[[Any, int], tuple[str, ...]] = make(
        None, _refuse, quote, None, ": ", ", ", False, False, True
    )
    return plain


def _refuse(value: Any, indent: int = 0) -> Any:
    raise TypeError("not plain")


def _no_constant(name: str) -> Any:
    raise ValueError(f"Expecting value: {name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_no_constant)
_scan: Callable[[str, int], tuple[Any, int]] = vars(_decoder)["scan_once"]


def _decode_whole(text: str) -> Any:
    """Decode with white space around, after either spelling of a byte-order mark."""
    for mark in ("\ufeff", "\u00ef\u00bb\u00bf"):
        if text.startswith(mark):
            return _decoder.decode(text[len(mark) :])
    return _decoder.decode(text)
