"""Leaves behind what a fork would break."""

import os
import socket
import threading
from typing import Any

print(f"imported by {os.getpid()}")

if os.environ["LEAVE"] == "thread":
    threading.Thread(target=threading.Event().wait, daemon=True).start()
else:
    kept = socket.socket()


async def main(event: Any, context: Any) -> Any:
    return os.getpid()
