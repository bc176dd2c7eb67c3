"""What is wrong with one finished run: pure decisions over what was read of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any

from lmi_runtime.stress.oracles.canary import Leak, Tokens, find_foreign
from lmi_runtime.stress.oracles.hints import hint
from lmi_runtime.stress.program import Complaint, Ended
from lmi_runtime.stress.tracebacks import traceback_of
from lmi_runtime.stress.world import Node, Tree, render

__all__ = [
    "Texts",
    "check_invariant",
    "holder_of",
    "leaks_between_tenants",
    "leaks_in_result",
    "unsound",
]

_HINTS = {"result": "isolation.result", "error": "isolation.error", "output": "isolation.log"}
_CANARY = re.compile(r"-?canary-(?:tenant-)?\d+-[0-9a-f]{4}|ca[0-9a-f]{6}[0-9a-f-]+", re.IGNORECASE)


class Texts:
    """
    What invocations wrote, looked at once: thousands of runs write the same lines.

    Thread safety: the thread that explores.
    """

    def __init__(self, tokens: Mapping[int, Tokens]) -> None:
        self._tokens = tokens
        self._known: dict[tuple[int, str], tuple[Leak, ...]] = {}

    def leaks(self, invocation: int, text: str) -> Iterator[Leak]:
        """Tokens of others in what an invocation wrote, line by line."""
        for line in text.splitlines():
            key = (invocation, line)
            if key not in self._known:
                found = find_foreign(self._tokens, invocation, line, name="output")
                self._known[key] = tuple(found)
            yield from self._known[key]


def leaks_in_result(tokens: Mapping[int, Tokens], invocation: int, end: Ended) -> list[Leak]:
    """Tokens of others in what an invocation answered."""
    if end.error is not None:
        return find_foreign(tokens, invocation, end.error, name="error")
    return find_foreign(tokens, invocation, end.result, name="result")


def leak_complaint(invocation: int, leak: Leak, holder: str) -> Complaint:
    """
    One leak, in words.

    Args:
        invocation: Where it turned up.
        leak: What and whose it is.
        holder: Module state that holds something of the same owner, or an empty string.
    """
    kind = re.match(r"\w+", leak.path)
    where = kind.group() if kind is not None else "result"
    place = (
        "what invocation {} wrote" if where == "output" else f"the {leak.path} of invocation {{}}"
    )
    through = f", and {holder} holds it" if holder else ""
    return Complaint(
        "isolation",
        f"{place.format(invocation)} contains the {leak.kind} of invocation {leak.owner}"
        f"{through}: {leak.excerpt!r}",
        hint(_HINTS.get(where, "isolation.result")),
        holder or plain(leak.path),
    )


def plain(path: str) -> str:
    """A path without anybody's tokens: the same however a failure is made smaller."""
    return _CANARY.sub("", path)


def holder_of(state: Mapping[str, Tree], owner: Tokens, kind: str) -> str:
    """
    Where the modules keep a token of `owner`, or an empty string.

    What is kept under a key of the owner's own is kept well, and is not what is looked for.

    Args:
        state: Of the modules, by path.
        owner: Whose token turned up elsewhere.
        kind: What kind of token.
    """
    needles = tuple(needle for needle, what in owner.needles() if what == kind)
    every = tuple(needle for needle, _ in owner.needles())
    for path, tree in state.items():
        found = _path_to(tree, path, needles, every)
        if found is not None:
            return plain(found)
    return ""


def _path_to(
    tree: Tree, path: str, needles: tuple[str, ...], own: tuple[str, ...] = ()
) -> str | None:
    """The attribute or the container that holds a needle, but for entries under keys of `own`."""
    if isinstance(tree, str):
        return path if _holds(tree, needles) else None
    if not isinstance(tree, Node):
        return None
    if tree.kind == "leaf":
        return path if _holds(tree.text, needles) else None
    for key, part in _steps(tree):
        if own and tree.kind == "dict" and _holds(_key_text(key), own):
            continue
        step = f"{path}.{key}" if tree.kind == "object" else path
        # A container is named as a whole: its keys change with every invocation.
        found = _path_to(part, step, needles, own)
        if found is not None:
            return found
    return None


def _steps(tree: Node) -> Iterator[tuple[Tree, Tree]]:
    for part in tree.parts:
        if tree.kind in ("dict", "object"):
            yield part[0], part[1]
        else:
            yield "", part


def _holds(text: str, needles: tuple[str, ...]) -> bool:
    lowered = text.lower()
    return any(needle in lowered for needle in needles)


def leaks_between_tenants(
    state: Mapping[str, Tree], tokens: Mapping[int, Tokens]
) -> Iterator[Complaint]:
    """Entries kept under the name of one tenant that hold something of another's."""
    by_tenant = {each.tenant_id: number for number, each in tokens.items()}
    for path, tree in state.items():
        for key, value in _entries(tree):
            owner = next((n for tenant, n in by_tenant.items() if tenant in key), None)
            others = [
                each for n, each in tokens.items() if n != owner and each.tenant_id not in key
            ]
            if owner is None or not others:
                continue
            for other in others:
                if _path_to(value, "", tuple(n for n, _ in other.needles())) is not None:
                    yield Complaint(
                        "isolation",
                        f"{path} holds under the tenant of invocation {owner} what belongs to "
                        f"invocation {other.invocation}: {render(value)}",
                        hint("isolation.cache"),
                        path,
                    )


def _entries(tree: Tree) -> Iterator[tuple[str, Tree]]:
    if not isinstance(tree, Node):
        return
    if tree.kind == "dict":
        for key, value in tree.parts:
            text = _key_text(key)
            if "canary-tenant-" in text:
                yield text, value
    for _, part in _steps(tree):
        yield from _entries(part)


@lru_cache(maxsize=1024)
def _key_text(key: Tree) -> str:
    return key if isinstance(key, str) else render(key, 1000)


def check_invariant(invariant: Callable[[ModuleType], Any], module: ModuleType) -> list[Complaint]:
    """What a user's own invariant says."""
    name = getattr(invariant, "__name__", "invariant")
    try:
        if invariant(module) is not False:
            return []
        said, trace = "", ""
    except Exception as error:
        lines = str(error).strip().splitlines()
        said = f": {lines[0]}" if lines else ""
        trace = traceback_of(error)
    sentence = f"{name} does not hold{said}"
    return [Complaint("invariant", sentence, hint("invariant"), name, traceback=trace)]


def unsound(
    rest: Mapping[str, Tree], now: Mapping[str, Tree], cancelled: Sequence[int]
) -> Iterable[Complaint]:
    """
    What every invocation puts back at its end, and a cancelled one did not.

    Args:
        rest: What is the same before and after any number of invocations.
        now: The state after some were cancelled, and one more has run to its end.
        cancelled: Which.
    """
    for path, tree in rest.items():
        found = now.get(path)
        if found is not None and found != tree and _counts(tree):
            numbers = ", ".join(map(str, cancelled))
            yield Complaint(
                "deadline",
                f"invocation {numbers} was cancelled, and left {path} as {render(found)}; "
                f"invocations that end leave it as {render(tree)}",
                hint("deadline"),
                path,
            )


def _counts(tree: Tree) -> bool:
    """A container, a lock or a semaphore; a plain number may count cancellations."""
    return isinstance(tree, Node)
