"""
Isolation canaries: what each invocation carries, and where one of another turned up.

Nothing here runs code of the user: a result is walked through the machinery of the builtin types
(`dict.items`, slots, the instance's ``__dict__``), never through what a class overrides.
"""

from __future__ import annotations

import base64
import binascii
import gc
import hashlib
import json
import re
import types
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any
from urllib.parse import unquote

__all__ = ["CanarySet", "Leak", "Scan", "Tokens", "find_foreign", "scan", "tokens_for"]

_TIME_S = 0x6955B900  # 2026-01-01T00:00:00Z, a time that X-Ray would believe


@dataclass(frozen=True, slots=True)
class Tokens:
    """
    What one invocation carries. All start with ``ca``, so that one search finds any of them.

    Attributes:
        invocation: Number of the invocation.
        request_id: A version 4 UUID.
        trace_id: An X-Ray trace header: ``Root=1-...;Parent=...;Sampled=1``.
        tenant_id: An identifier.
        text: What is added to strings: ``canary-2-7f3a``.
    """

    invocation: int
    request_id: str
    trace_id: str
    tenant_id: str
    text: str

    @property
    def traceparent(self) -> str:
        """The same trace in the form of the W3C."""
        return f"00-{_TIME_S:08x}{self._root}-{self._parent}-01"

    @property
    def _root(self) -> str:
        return self.trace_id[16:40]

    @property
    def _parent(self) -> str:
        return self.trace_id[48:64]

    def own_uuid(self, original: str) -> str:
        """A UUID of this invocation, different for different originals."""
        return self.request_id[:19] + original[19:].lower()

    def needles(self) -> Iterator[tuple[str, str]]:
        """What to look for, in lower case, each with what it is."""
        yield self.text, "text"
        yield self.tenant_id, "tenant id"
        yield self.request_id[:18], "request id"
        yield self.request_id[:18].replace("-", ""), "request id"
        yield self._root, "trace id"
        yield self._parent, "trace id"


def tokens_for(invocation: int, seed: int = 0) -> Tokens:
    """The tokens of one invocation: the same for the same number and seed."""
    digest = hashlib.sha256(f"{seed}:{invocation}".encode()).hexdigest()
    # Eight digits that no other invocation has, then what the seed decides.
    mark = f"ca{invocation & 0xFFFFFF:06x}"
    return Tokens(
        invocation=invocation,
        request_id=f"{mark}-{digest[:4]}-4{digest[4:7]}-8{digest[7:10]}-{digest[10:22]}",
        trace_id=(
            f"Root=1-{_TIME_S:08x}-{mark}{digest[22:38]};Parent={mark}{digest[38:46]};Sampled=1"
        ),
        tenant_id=f"canary-tenant-{invocation}-{digest[46:50]}",
        text=f"canary-{invocation}-{digest[50:54]}",
    )


@dataclass(frozen=True, slots=True)
class CanarySet:
    """
    The tokens of all invocations of one run.

    Attributes:
        count: How many invocations there are, numbered from 1.
        seed: Other seeds make other tokens.
    """

    count: int
    seed: int = 0

    def tokens_for(self, invocation: int) -> Tokens:
        """The tokens of one invocation."""
        return tokens_for(invocation, self.seed)

    def by_invocation(self) -> dict[int, Tokens]:
        """The tokens of all, as `find_foreign` takes them."""
        return {number: self.tokens_for(number) for number in range(1, self.count + 1)}


@dataclass(frozen=True, slots=True)
class Leak:
    """
    A token where it does not belong.

    Attributes:
        path: Where, as a person would write it: ``result['body']['user']``.
        owner: Number of the invocation it belongs to.
        kind: ``text``, ``request id``, ``trace id`` or ``tenant id``.
        excerpt: The text around it, at most 80 characters.
        decoded: What had to be decoded to see it, outermost first: ``("base64", "json")``.
    """

    path: str
    owner: int
    kind: str
    excerpt: str
    decoded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scan:
    """
    The leaks in one thing, the nearest to its surface first.

    Attributes:
        leaks: At most one for each place and owner.
        complete: All of it was looked at; False if it was too big.
    """

    leaks: tuple[Leak, ...]
    complete: bool


def find_foreign(
    tokens_by_invocation: Mapping[int, Tokens],
    invocation: int | None,
    haystack: object,
    *,
    name: str = "result",
) -> list[Leak]:
    """
    Find the tokens of other invocations in a result, a log line, a cache entry.

    Args:
        tokens_by_invocation: Everyone's tokens.
        invocation: Whose result it is; None if nobody's tokens may be in it.
        haystack: Anything. Objects are walked through their slots and ``__dict__``; text is
            also read as JSON, base64 (of gzip, too) and percent-encoding.
        name: What paths start with.

    Returns:
        The nearest to the surface first. Use `scan` to learn whether all of it was looked at.
    """
    return list(scan(tokens_by_invocation, invocation, haystack, name=name).leaks)


def scan(
    tokens_by_invocation: Mapping[int, Tokens],
    invocation: int | None,
    haystack: object,
    *,
    name: str = "result",
    max_objects: int = 100_000,
    max_depth: int = 64,
    max_chars: int = 8_000_000,
) -> Scan:
    """
    Like `find_foreign`, and say whether all of it was looked at.

    Args:
        tokens_by_invocation: Everyone's tokens.
        invocation: Whose result it is; None if nobody's tokens may be in it.
        haystack: Anything.
        name: What paths start with.
        max_objects: Look at no more objects.
        max_depth: Look into no deeper nesting.
        max_chars: Look at no more text, all together, decoded text included.
    """
    foreign = tuple(t for n, t in sorted(tokens_by_invocation.items()) if n != invocation)
    if not foreign:
        return Scan((), complete=True)
    search = _Search(*_pattern(foreign), max_objects, max_depth, max_chars)
    search.walk(haystack, name)
    return Scan(tuple(search.leaks.values()), search.complete)


@lru_cache(maxsize=64)
def _pattern(foreign: tuple[Tokens, ...]) -> tuple[re.Pattern[str], dict[str, tuple[int, str]]]:
    """One expression for all needles, and whose each is."""
    owners = {n: (t.invocation, kind) for t in foreign for n, kind in t.needles()}
    longest_first = sorted(owners, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE), owners


# What leads from a result to the whole process, and what holds no text.
_OPAQUE = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.CodeType,
    types.FrameType,
    types.TracebackType,
    types.GeneratorType,
    types.CoroutineType,
    types.AsyncGeneratorType,
    int,
    float,
    complex,
    type(None),
)
# Cut into lines as in mail, too, also where JSON wrote the line ends.
_LINE_END = re.compile(r"(?:\r|\\r)?(?:\n|\\n)")
_BASE64 = re.compile(rf"[A-Za-z0-9+/_-]{{16,}}(?:{_LINE_END.pattern}[A-Za-z0-9+/_-]+)*")
_URLSAFE = bytes.maketrans(b"-_", b"+/")
_MAX_DECODINGS = 6


@dataclass(slots=True)
class _Search:
    """One walk. Thread safety: used by one thread."""

    pattern: re.Pattern[str]
    owners: Mapping[str, tuple[int, str]]
    objects_left: int
    max_depth: int
    chars_left: int
    leaks: dict[tuple[str, int], Leak] = field(default_factory=dict)
    complete: bool = True

    def walk(self, root: object, path: str, decoded: tuple[str, ...] = ()) -> None:
        """Breadth first, so that the shortest path to a shared object is the one reported."""
        seen: set[int] = set()
        queue = deque([(root, path, 0)])
        while queue:
            thing, where, depth = queue.popleft()
            if self.objects_left <= 0:
                self.complete = False
                return
            self.objects_left -= 1
            text = _text_of(thing)
            if text is not None:
                self.read(text, where, decoded)
            elif issubclass(type(thing), _OPAQUE) or id(thing) in seen:
                continue
            elif depth >= self.max_depth:
                self.complete = False
            else:
                # The root keeps everything in it alive: no two of them share an id.
                seen.add(id(thing))
                children = islice(_children(thing, where), self.objects_left + 1)
                queue.extend((child, step, depth + 1) for child, step in children)

    def read(self, text: str, path: str, decoded: tuple[str, ...]) -> None:
        """Look at a text and at what it encodes."""
        if len(text) > self.chars_left:
            self.complete = False
            text = text[: self.chars_left]
        self.chars_left -= len(text)
        if not self._may_hold_any(text):
            return
        if len(decoded) < _MAX_DECODINGS:
            if self._read_json(text, path, decoded):
                return
            if "%" in text and (plain := unquote(text)) != text:
                self.read(plain, path, (*decoded, "url"))
            for inner in _from_base64(text):
                if self._worth_reading(inner):
                    self.read(inner, path, (*decoded, "base64"))
        for match in self.pattern.finditer(text):
            self._report(match, path, decoded)

    def _may_hold_any(self, text: str) -> bool:
        """Whether there is a token in it, or anything that could be one in another writing."""
        return (
            self.pattern.search(text) is not None
            or "\\" in text
            or "%" in text
            or _BASE64.search(text) is not None
        )

    def _read_json(self, text: str, path: str, decoded: tuple[str, ...]) -> bool:
        """Whether the text was JSON that says more than the text itself."""
        if text.lstrip()[:1] not in {"{", "[", '"'}:
            return False
        # Pairs instead of objects would keep both of two equal keys, but lose the paths.
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return False
        self.walk(value, path, (*decoded, "json"))
        # A key that was there twice is in the text only.
        for match in self.pattern.finditer(text):
            owner, _ = self.owners[match.group().lower()]
            if not any(p.startswith(path) and o == owner for p, o in self.leaks):
                self._report(match, path, decoded)
        return True

    def _worth_reading(self, text: str) -> bool:
        """Most of what looks like base64 is not, and decodes to noise."""
        return (
            self.pattern.search(text) is not None
            or sum(char.isprintable() for char in text[:64]) > len(text[:64]) * 0.8
        )

    def _report(self, match: re.Match[str], path: str, decoded: tuple[str, ...]) -> None:
        owner, kind = self.owners[match.group().lower()]
        around = match.string[max(0, match.start() - 20) : match.end() + 20][:80]
        self.leaks.setdefault((path, owner), Leak(path, owner, kind, around, decoded))


def _text_of(thing: object) -> str | None:
    kind = type(thing)
    if issubclass(kind, str):
        return str.__str__(thing)
    if issubclass(kind, bytes):
        return bytes.decode(thing, "utf-8", "replace")  # type: ignore[arg-type]
    if kind is bytearray or kind is memoryview:
        try:
            return bytes(thing).decode("utf-8", "replace")  # type: ignore[call-overload,no-any-return]
        except ValueError:
            return None  # a view that was released
    return None


def _children(thing: Any, path: str) -> Iterator[tuple[Any, str]]:
    """What a thing holds, by the machinery of the builtin types alone."""
    kind = type(thing)
    if issubclass(kind, dict):
        for key, value in list(dict.items(thing)):
            step = f"{path}[{_key(key)}]"
            yield value, step
            yield key, f"{step} (key)"
    for builtin in (list, tuple, deque, set, frozenset):
        if issubclass(kind, builtin):
            for index, value in enumerate(list(builtin.__iter__(thing))):
                yield value, f"{path}[{index}]"
    if kind is types.MappingProxyType:
        # Its own methods would call those of the mapping behind it.
        for mapping in gc.get_referents(thing):
            yield mapping, path
    if issubclass(kind, BaseException):
        yield from _parts_of_error(thing, path)
    yield from _attributes(thing, path)


def _parts_of_error(error: BaseException, path: str) -> Iterator[tuple[Any, str]]:
    for name in ("args", "__cause__", "__context__"):
        part = BaseException.__dict__[name].__get__(error)
        yield part, f"{path}.{name}"
    if issubclass(type(error), BaseExceptionGroup):
        yield BaseExceptionGroup.__dict__["exceptions"].__get__(error), f"{path}.exceptions"


def _attributes(thing: object, path: str) -> Iterator[tuple[Any, str]]:
    """Values in the instance's ``__dict__`` and its slots."""
    for owner in type.__dict__["__mro__"].__get__(type(thing)):
        for name, member in list(type.__dict__["__dict__"].__get__(owner).items()):
            if name == "__dict__" and type(member) is types.GetSetDescriptorType:
                values = member.__get__(thing)
                for key, value in list(dict.items(values)):
                    yield value, f"{path}.{key}" if type(key) is str else f"{path}[{_key(key)}]"
            elif type(member) is types.MemberDescriptorType:
                try:
                    yield member.__get__(thing), f"{path}.{name}"
                except AttributeError:
                    continue  # a slot that was never filled


def _key(key: object) -> str:
    """A key as written in source; of a user's own type, only its name."""
    if type(key) in (str, int, float, bool, bytes, type(None)):
        return repr(key) if len(repr(key)) <= 80 else repr(key)[:77] + "..."
    return f"<{type.__dict__['__name__'].__get__(type(key))}>"


def _from_base64(text: str) -> Iterator[str]:
    for match in _BASE64.finditer(text):
        run = _LINE_END.sub("", match.group()).encode().translate(_URLSAFE)
        # It may start anywhere in a longer run of letters, so at any of four alignments.
        for offset in range(4):
            yield _decoded(run[offset:])


def _decoded(run: bytes) -> str:
    usable = run[: len(run) - 1] if len(run) % 4 == 1 else run
    try:
        data = base64.b64decode(usable + b"=" * (-len(usable) % 4))
    except binascii.Error:
        return ""
    if data[:2] == b"\x1f\x8b":
        try:
            data = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, 1_000_000)
        except zlib.error:
            return ""
    return data.decode("utf-8", "replace")
