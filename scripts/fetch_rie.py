"""Put AWS's emulator into the cache and print its path, or say why it cannot be had."""

from __future__ import annotations

import sys

from tests.support.rie_binary import RieUnavailable, rie_binary


def main() -> int:
    try:
        print(rie_binary())
    except RieUnavailable as error:
        print(f"not fetched: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
