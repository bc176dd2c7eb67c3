"""
Sessions of botocore, which are not made for several threads, made to bear them.

A session makes its parts when they are first needed, and changes them while it makes a client:
two threads that make clients of one session at once get parts twice, or half made. So each session
makes one client at a time. The sessions of boto3 make theirs through one of botocore.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from lmi_runtime import _sync, context
from lmi_runtime.integrations.patching import Swaps

__all__ = ["LEAST_CONNECTIONS", "make_one_at_a_time", "share_default_session", "turn"]

LEAST_CONNECTIONS = 10
"""What botocore keeps by default, and what its file transfers use."""

_turns = _sync.ProcessWide[WeakKeyDictionary[Any, Any]](WeakKeyDictionary, anew_in_child=True)
"""A lock for each session; added in one atomic step."""
_default_turn = _sync.ProcessWide(lambda: _sync.RLock(), anew_in_child=True)

_BEFORE_CONFIG = 9
"""Arguments of `Session.create_client` that come before its `config`."""


def turn(session: Any) -> Any:
    """
    The lock under which a session of botocore makes clients.

    Re-entrant: to find credentials, a session may make a client in the middle of another.

    Thread safety: from any thread. A forked child has locks of its own.
    """
    return _turns().setdefault(session, _sync.RLock())


def make_one_at_a_time(module: ModuleType, swaps: Swaps) -> None:
    """
    Have each session make one client at a time, and those clients keep enough connections.

    As many as this worker serves invocations at once, where that is more than botocore's ten and
    neither the client's nor the session's config says how many: beyond them botocore would open a
    connection for each call, and close it with a warning.
    """
    session = swaps.attribute(module, "Session")
    parameters = "self, service_name, config"
    create_client = swaps.function(session, "create_client", parameters)

    @functools.wraps(create_client)
    def making(self: Any, *args: Any, **options: Any) -> Any:
        with turn(self):
            if len(args) <= _BEFORE_CONFIG:
                options["config"] = _with_room(self, options.get("config"))
            return create_client(self, *args, **options)

    swaps.put(session, "create_client", making)


def _with_room(session: Any, config: Any) -> Any:
    facts = context.worker()
    most = facts.slots + facts.spare
    configs = (config, session.get_default_client_config())
    if most <= LEAST_CONNECTIONS or any(map(_counts_connections, configs)):
        return config
    from botocore.config import Config  # type: ignore[import-untyped]

    room = Config(max_pool_connections=most)
    return room if config is None else config.merge(room)


def _counts_connections(config: Any) -> bool:
    if config is None:
        return False
    said = getattr(config, "_user_provided_options", None)
    return said is None or "max_pool_connections" in said


def share_default_session(module: ModuleType, swaps: Swaps) -> None:
    """Have boto3 make one default session, however many threads are the first to need it."""
    get: Callable[[], Any] = swaps.function(module, "_get_default_session", "")
    swaps.attribute(module, "setup_default_session")

    @functools.wraps(get)
    def get_shared() -> Any:
        with _default_turn():
            return get()

    swaps.put(module, "_get_default_session", get_shared)
