"""Run a function under the events the harness uses, and see what its sites say as it goes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from lmi_runtime.stress.watch.accesses import Touched, resolve
from lmi_runtime.stress.watch.bytecode import Site, analyse

_TOOL = 3


@dataclass
class Seen:
    """All that was reported of some code objects, in order."""

    offsets: list[tuple[CodeType, int]] = field(default_factory=list)
    sites: list[tuple[Site, tuple[Touched, ...]]] = field(default_factory=list)

    def take(self, code: CodeType, offset: int, frame: FrameType) -> None:
        self.offsets.append((code, offset))
        site = analyse(code).sites.get(offset)
        if site is not None:
            self.sites.append((site, resolve(site, frame)))

    @property
    def labels(self) -> list[str]:
        return [site.label for site, _ in self.sites]

    def touched(self, label: str) -> list[tuple[str, str, str | None, str]]:
        """Mode, path, key and value of what the sites of that label touched."""
        return [
            (t.access.mode, t.access.location.path, t.access.location.key, t.access.value)
            for site, found in self.sites
            if site.label == label
            for t in found
        ]


def watch(call: Callable[[], Any], filename: str) -> Seen:
    """Call it while all code of `filename` is watched."""
    seen = Seen()
    if sys.version_info >= (3, 12):
        _monitor(call, filename, seen)
    else:
        _trace(call, filename, seen)
    return seen


def _trace(call: Callable[[], Any], filename: str, seen: Seen) -> None:
    def tracer(frame: FrameType, event: str, _arg: object) -> Any:
        if frame.f_code.co_filename != filename:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            seen.take(frame.f_code, frame.f_lasti, frame)
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        call()
    finally:
        sys.settrace(before)


def _monitor(call: Callable[[], Any], filename: str, seen: Seen) -> None:
    monitoring = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    event = monitoring.events.INSTRUCTION

    def instruction(code: CodeType, offset: int) -> Any:
        if code.co_filename != filename:
            return monitoring.DISABLE
        seen.take(code, offset, sys._getframe(1))
        return None

    monitoring.use_tool_id(_TOOL, "tests")
    monitoring.register_callback(_TOOL, event, instruction)
    monitoring.restart_events()
    monitoring.set_events(_TOOL, event)
    try:
        call()
    finally:
        monitoring.set_events(_TOOL, 0)
        monitoring.register_callback(_TOOL, event, None)
        monitoring.free_tool_id(_TOOL)


def module(source: str, path: Path, name: str = "app") -> dict[str, Any]:
    """The globals of a module made from `source`, which is written to `path`."""
    path.write_text(source)
    names: dict[str, Any] = {"__name__": name}
    exec(compile(source, str(path), "exec"), names)
    return names
