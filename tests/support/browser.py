"""Just enough of a headless Chromium: a page, its console, and scripts run in it."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.patience import PATIENCE_S

__all__ = ["Browser", "chromium", "open_browser"]


def chromium() -> str | None:
    """Where it is, or None."""
    return shutil.which("chromium") or shutil.which("google-chrome")


class Browser:
    """Speaks the DevTools protocol over two pipes, which needs no library and no port."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = to, back
        self._received = b""
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self.complaints: list[str] = []
        """Errors and warnings of the console, exceptions, and what the policy refused."""

    def open(self, url: str, *, width: int, height: int, scheme: str = "light") -> None:
        """Load a page and wait until it has loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.call("Page.navigate", url=url)
        self._wait_for("Page.loadEventFired")

    def run(self, script: str) -> Any:
        """The JSON value of an expression in the page."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def press(self, key: str) -> None:
        """A key, pressed and released, wherever the focus is."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def screenshot(self) -> bytes:
        """PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its result."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    def _wait_for(self, event: str) -> None:
        while self._next().get("method") != event:
            pass

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._back], [], [], deadline - time.monotonic())
            assert ready, f"the browser did not answer for {PATIENCE_S} s"
            part = os.read(self._back, 1 << 16)
            assert part, "the browser has ended"
            self._received += part
        line, self._received = self._received.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        match message:
            case {"method": "Runtime.exceptionThrown", "params": detail}:
                self.complaints.append(json.dumps(detail))
            case {"method": "Runtime.consoleAPICalled", "params": {"type": "error" | "warning"}}:
                self.complaints.append(json.dumps(message["params"]))
            case {"method": "Log.entryAdded", "params": {"entry": entry}}:
                self.complaints.append(entry["text"])
            case {"method": "Network.requestWillBeSent", "params": {"request": {"url": url}}}:
                if not url.startswith(("file:", "data:")):
                    self.complaints.append(f"request to {url}")


@contextlib.contextmanager
def open_browser(program: str, profile: Path) -> Iterator[Browser]:
    """Start a browser, and end it."""
    commands, to = _pipe()
    back, answers = _pipe()
    arguments = [
        program,
        "--headless",
        "--no-sandbox",  # it does not start as root otherwise, and sees only our own page
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
        f"--user-data-dir={profile}",
        "--remote-debugging-pipe",
    ]
    nothing = os.open(os.devnull, os.O_RDWR)
    actions = [
        *((os.POSIX_SPAWN_DUP2, nothing, number) for number in (0, 1, 2)),
        (os.POSIX_SPAWN_DUP2, commands, 3),
        (os.POSIX_SPAWN_DUP2, answers, 4),
    ]
    pid = os.posix_spawn(program, arguments, os.environ, file_actions=actions, setsid=True)
    for number in (nothing, commands, answers):
        os.close(number)
    try:
        yield Browser(to, back)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(to)
        os.close(back)


def _pipe() -> tuple[int, int]:
    """Neither end is 3 or 4, which the browser's ends become."""
    ends = os.pipe()
    moved = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return moved[0], moved[1]
