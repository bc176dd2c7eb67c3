"""Can be imported by the first process of all, and by none that is forked from it."""

import os
from typing import Any

if os.environ["STARTED_BY"] != str(os.getppid()):
    raise LookupError("not here")


async def main(event: Any, context: Any) -> None: ...
