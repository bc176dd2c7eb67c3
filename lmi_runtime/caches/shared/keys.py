"""Keys as bytes that mean the same in every process."""

from __future__ import annotations

from typing import TypeAlias, Union

from lmi_runtime.caches.keys import NAMED

__all__ = ["Key", "canonical_key", "key_slot", "tag_name"]

Key: TypeAlias = Union[str, bytes, int, float, bool, tuple["Key", ...], None]  # noqa: UP007
"""What a shared cache can be asked for. `1`, `1.0`, `True` and `"1"` are four keys."""

_LONGEST_BYTES = 96
_SLOTS = 4096


def canonical_key(key: object) -> bytes:
    """
    The bytes that stand for `key`; a digest of them when they are long.

    Raises:
        TypeError: It is, or holds, something else than text, bytes, a number, None or a tuple.
            What prints the same in every process need not: ask with ``str(key)``.
    """
    plain = b"s" + key.encode("utf-8", "surrogatepass") if type(key) is str else _plain(key)
    if len(plain) <= _LONGEST_BYTES:
        return plain
    from hashlib import blake2b

    return b"#" + blake2b(plain, digest_size=32).digest()


def _plain(key: object) -> bytes:
    match key:
        case str():
            return b"s" + key.encode("utf-8", "surrogatepass")
        case bytes():
            return b"b" + key
        case None | True | False:
            return b"c" + repr(key).encode()
        case int():
            return b"i%d" % key
        case float():
            return b"f" + float.hex(key).encode()
        case tuple():
            return b"t" + b"".join(_framed(_plain(part)) for part in key)
    if key is NAMED:
        return b"n"
    raise TypeError(
        f"The key of a shared cache cannot be, or hold, {type(key).__name__}: only str, bytes, "
        "int, float, bool, None and tuples of them are the same in every process."
    )


def _framed(part: bytes) -> bytes:
    return b"%d:%b" % (len(part), part)


def key_slot(key: bytes) -> bytes:
    """
    Where it is noted that `key` was deleted: one of 4096 names that keys share.

    Two keys of one name cost one of them a load that is not kept, never a stale value.
    """
    from hashlib import blake2b

    number = int.from_bytes(blake2b(key, digest_size=2).digest()) % _SLOTS
    return b"k%d" % number


def tag_name(tag: str) -> bytes:
    """Where it is noted that `tag` was invalidated."""
    from hashlib import blake2b

    return b"t" + blake2b(tag.encode("utf-8", "surrogatepass"), digest_size=12).digest()
