"""
Stops actors at the bytecode that matters.

`sys.settrace` with opcode events up to 3.11. From 3.12 on only `sys.monitoring`: there opcode
events of `settrace` are lost the first time code runs, and a recording would not replay.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Mapping
from types import CodeType, FrameType
from typing import Any, Protocol

from lmi_runtime.stress.control import actors
from lmi_runtime.stress.control.active import caller
from lmi_runtime.stress.control.actors import Unwind
from lmi_runtime.stress.control.raw import get_ident
from lmi_runtime.stress.control.scheduler import Scheduler
from lmi_runtime.stress.model import Granularity
from lmi_runtime.stress.watch.bytecode import Site, SiteKind, analyse

__all__ = ["Tracer", "catch_up", "site_of", "tracer"]

Wants = Callable[[CodeType], bool]
Hook = Callable[[Site, FrameType], None]


class Tracer(Protocol):
    """Calls the hook of a run before each instruction that matters."""

    def begin(self, run: Scheduler, wants: Wants) -> None:
        """A run begins; exploring thread."""
        ...

    def finish(self) -> None:
        """It is over; exploring thread."""
        ...

    def enter(self) -> None:
        """An actor's thread begins; called in it."""
        ...

    def leave(self) -> None:
        """An actor's thread ends; called in it."""
        ...


_by_number: dict[int, Site] = {}  # baton holder and exploring thread only


def site_of(number: int) -> Site | None:
    """The site of watched code that has this number."""
    return _by_number.get(number)


_listed: set[int] = set()  # identities of analysed code, which is kept for ever; likewise


def _sites_of(code: CodeType) -> Mapping[int, Site]:
    analysed = analyse(code)
    if id(analysed) not in _listed:
        _listed.add(id(analysed))
        for site in analysed.sites.values():
            _by_number[site.number] = site
    return analysed.sites


def tracer() -> Tracer:
    """The one for this interpreter."""
    return _MonitoringTracer() if sys.version_info >= (3, 12) else _SettraceTracer()


# ---------------------------------------------------------------------- what to do at a site


_LOOKS = ("load ", "compare", "test", "contains", "binary")
"""How the labels begin of what changes nothing."""


def _hook(run: Scheduler) -> Hook:
    """What happens before an instruction, by granularity."""
    return _HOOKS[run.options.granularity](run)


def _free_threaded(run: Scheduler) -> Hook:
    recorder = run.recorder
    enter = SiteKind.ENTER

    def hook(site: Site, frame: FrameType) -> None:
        actor = run.running
        if actor is None:  # the run was ended without this thread
            raise Unwind
        if site.shared:
            if not run.clean:
                run.point(actor, site.number)
            run.clean = False
            if not site.label.startswith(_LOOKS):
                actor.busy = True
            if recorder is not None:
                recorder.site(actor, site, frame)
        if site.gil_before and site.kind is not enter:
            run.spin(actor, site.number, frame)

    return hook


def _gil(run: Scheduler) -> Hook:
    recorder = run.recorder
    enter = SiteKind.ENTER

    def hook(site: Site, frame: FrameType) -> None:
        actor = run.running
        if actor is None:  # the run was ended without this thread
            raise Unwind
        if site.gil_before:
            if not run.clean:
                run.point(actor, site.number)
            if site.kind is not enter:  # a jump back, whatever else it does
                run.spin(actor, site.number, frame)
        elif site.after_call and actor.pending_call is site.code and not run.clean:
            # The interpreter looks for a waiting thread when a call into C returns.
            run.point(actor, site.number)
        actor.pending_call = site.code if site.gil_call else None
        if site.shared:
            run.clean = False
            if not site.label.startswith(_LOOKS):
                actor.busy = True
            if recorder is not None:
                recorder.site(actor, site, frame)

    return hook


def _line(run: Scheduler) -> Hook:
    recorder = run.recorder

    def hook(site: Site, frame: FrameType) -> None:
        actor = run.running
        if actor is None:  # the run was ended without this thread
            raise Unwind
        if site.gil_before and site.kind is not SiteKind.ENTER:
            run.spin(actor, site.number, frame)
        if site.line_start and not run.clean:
            run.point(actor, site.number)
        if site.shared:
            run.clean = False
            if not site.label.startswith(_LOOKS):
                actor.busy = True
            if recorder is not None:
                recorder.site(actor, site, frame)

    return hook


_HOOKS: dict[Granularity, Callable[[Scheduler], Hook]] = {
    Granularity.GIL: _gil,
    Granularity.FREE_THREADED: _free_threaded,
    Granularity.LINE: _line,
}


# ---------------------------------------------------------------------- 3.11


class _SettraceTracer:
    """Thread safety: `enter` and `leave` by actors, in their own thread."""

    def __init__(self) -> None:
        # By identity, since to hash code is to hash all of it; what is not watched has None.
        # The code itself keeps the identity from being used again.
        self._local: dict[int, tuple[Any, CodeType]] = {}
        self._hook: Hook
        self._wants: Wants
        actors.trace = self._global

    def begin(self, run: Scheduler, wants: Wants) -> None:
        self._hook = _hook(run)
        self._wants = wants
        self._local.clear()

    def finish(self) -> None:
        self._local.clear()

    def enter(self) -> None:
        sys.settrace(actors.trace)
        # Frames that run already, when tracing begins in the middle of a run.
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if frame.f_trace is None:
                frame.f_trace = self._global(frame, "call", None)
            frame = frame.f_back

    def leave(self) -> None:
        sys.settrace(None)

    def _global(self, frame: FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        known = self._local.get(id(code))
        if known is None:
            local = self._make_local(code) if self._wants(code) else None
            self._local[id(code)] = local, code
        else:
            local = known[0]
        if local is not None:
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
        return local

    def _make_local(self, code: CodeType) -> Any:
        site_at = _sites_of(code).get
        hook = self._hook
        shares_cells = bool(code.co_cellvars or code.co_freevars)

        def local(frame: FrameType, event: str, arg: Any) -> Any:
            if event == "opcode":
                site = site_at(frame.f_lasti)
                if site is not None:
                    hook(site, frame)
                    if shares_cells:
                        # 3.11 writes the variables it read before this call back after it. What
                        # others stored in shared cells meanwhile must be among them.
                        frame.f_locals  # noqa: B018
            return local

        return local


# ---------------------------------------------------------------------- 3.12 and later


class _MonitoringTracer:
    """
    One for the whole process: events belong to code, not to threads.

    Thread safety: callbacks run in any thread, and do nothing but in the actor that runs.
    """

    def __init__(self) -> None:
        self._wants: Wants | None = None  # exploring thread only

    def begin(self, run: Scheduler, wants: Wants) -> None:
        global _run, _run_hook, _run_wants
        if wants is not self._wants:
            # Code that was not wanted before may be now.
            self._wants = wants
            _sites.clear()
            sys.monitoring.restart_events()  # type: ignore[attr-defined,unused-ignore]
        _run, _run_hook, _run_wants = run, _hook(run), wants
        _monitor()

    def finish(self) -> None:
        global _run
        _run = None
        monitoring = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        monitoring.set_events(_TOOL, 0)

    def enter(self) -> None:
        """Events are the process's."""

    def leave(self) -> None:
        """Events are the process's."""


_TOOL = 4
_run: Scheduler | None = None  # exploring thread, between runs
_run_hook: Hook
_run_wants: Wants
# Of code that is watched, by its identity: equal code of another file, or of a module imported
# anew, is told of its events by itself.
_sites: dict[int, Mapping[int, Site]] = {}
_alive: dict[int, weakref.ref[CodeType]] = {}


_NONE: Mapping[int, Site] = {}


def _monitor() -> None:
    monitoring = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    if monitoring.get_tool(_TOOL) is None:
        monitoring.use_tool_id(_TOOL, "lmi_runtime.stress")
        monitoring.register_callback(_TOOL, monitoring.events.PY_START, _on_start)
        # What was begun before the run was watched goes on with this.
        monitoring.register_callback(_TOOL, monitoring.events.PY_RESUME, _on_start)
        monitoring.register_callback(_TOOL, monitoring.events.INSTRUCTION, _on_instruction)
    monitoring.set_events(_TOOL, monitoring.events.PY_START | monitoring.events.PY_RESUME)


def catch_up() -> None:
    """Watch the functions that run already, when tracing begins in the middle of a run."""
    if sys.version_info < (3, 12):
        return  # `enter` does
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        _on_start(frame.f_code, 0)
        frame = frame.f_back


def _on_start(code: CodeType, offset: int) -> Any:
    run = _run
    if run is None:
        return None
    if id(code) not in _sites and _run_wants(code):
        identity = id(code)
        _sites[identity] = _sites_of(code)
        # Plain C, since it runs wherever the last reference happens to go.
        _alive[identity] = weakref.ref(code, functools.partial(_sites.pop, identity))
        monitoring = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        monitoring.set_local_events(_TOOL, code, monitoring.events.INSTRUCTION)
    return sys.monitoring.DISABLE  # type: ignore[attr-defined,unused-ignore]


def _on_instruction(code: CodeType, offset: int) -> Any:
    site = _sites.get(id(code), _NONE).get(offset)
    if site is None:
        return sys.monitoring.DISABLE  # type: ignore[attr-defined,unused-ignore]
    run = _run
    actor = None if run is None else run.running
    if actor is not None and actor.ident == get_ident():
        _run_hook(site, sys._getframe(1))
    else:
        caller()  # a thread that a run was ended without ends here
    return None
