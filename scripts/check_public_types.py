"""
Check that every type in the public API is written down, not left to a checker's inference.

`basedpyright --verifytypes` counts each module without an underscore as public. Ours is what
`lmi_runtime` exports, so its report is cut down to that: the exported names, their members, and,
because a type that refers to an incomplete one is incomplete too, whatever those mention.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "lmi_runtime"


def exported() -> Iterator[tuple[str, str]]:
    """Yield the module and the name of each import in the package's `__init__`."""
    tree = ast.parse((REPOSITORY / PACKAGE / "__init__.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
            yield from ((str(node.module), alias.name) for alias in node.names)


def public_pattern() -> re.Pattern[str]:
    """Match a symbol of the report: an exported name below its module, and its members."""
    rows = [rf"{re.escape(module)}(?:\.\w+)*\.{name}(?:\.|$)" for module, name in exported()]
    if not rows:
        sys.exit(f"{PACKAGE} exports nothing")
    return re.compile("|".join(rows))


def report() -> list[dict[str, Any]]:
    """Return basedpyright's verdict on each symbol."""
    command = ["basedpyright", "--ignoreexternal", "--outputjson", "--verifytypes", PACKAGE]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    try:
        symbols: list[dict[str, Any]] = json.loads(done.stdout)["typeCompleteness"]["symbols"]
    except (ValueError, KeyError):
        sys.exit(f"basedpyright gave no report:\n{done.stdout}{done.stderr}")
    return symbols


def main() -> int:
    pattern = public_pattern()
    public = [symbol for symbol in report() if pattern.match(symbol["name"])]
    incomplete = [symbol for symbol in public if not symbol["isTypeKnown"]]
    for symbol in incomplete:
        for found in symbol["diagnostics"] or [{"message": "unknown type"}]:
            print(f"{symbol['name']}: {found['message']}")
    print(f"{len(public) - len(incomplete)} of {len(public)} public symbols have a known type")
    return 1 if incomplete or not public else 0


if __name__ == "__main__":
    sys.exit(main())
