"""Bytes of HTTP messages."""

from __future__ import annotations

_CHUNK_BYTES = 32 * 1024


def encode_chunks(body: bytes) -> bytes:
    """Frame *body* as a complete chunked message."""
    pieces = []
    for start in range(0, len(body), _CHUNK_BYTES):
        piece = body[start : start + _CHUNK_BYTES]
        pieces.append(b"%x\r\n%b\r\n" % (len(piece), piece))
    pieces.append(b"0\r\n\r\n")
    return b"".join(pieces)


def header_line(name: str, value: str) -> bytes:
    """One encoded header. Line breaks cannot be smuggled in."""
    clean = value.replace("\r", " ").replace("\n", " ")
    return f"{name}: {clean}\r\n".encode("utf-8", "surrogateescape")
