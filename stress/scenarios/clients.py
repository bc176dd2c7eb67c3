"""boto3 clients that a worker has one of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from stress.scenarios.scenario import Budget, Scenario, State
from stress.scenarios.serving import requests, serves

__all__ = ["client_of_a_task_beside_a_thread", "clients_of_two"]

_WATCHED = ("lmi_runtime.integrations.boto",)


class Client:
    """As far as `bounded` has to know: it takes it for bounded."""

    def __init__(self) -> None:
        from lmi_runtime.integrations.boto.deadlines import _Events

        self._endpoint = SimpleNamespace(_event_emitter=_Events(None))

    def close(self) -> None:
        """There is nothing to close."""


class Session:
    """One of boto3's, which does not bear two threads."""

    def __init__(self) -> None:
        self._session = self
        self.is_busy = False
        self.made: list[str] = []

    def client(self, service: str, **options: Any) -> Client:
        """As boto3's."""
        assert not self.is_busy, "two threads make clients of one session"
        self.is_busy = True
        client = Client()
        self.made.append(service)
        self.is_busy = False
        return client


def _with_session() -> State:
    state = requests("a", "b")
    state.session = Session()
    return state


def _asks(*services: str) -> Any:
    def asks(state: State, mine: str) -> None:
        from lmi_runtime.integrations.boto import client

        state.seen.extend((name, client(name, session=state.session)) for name in services)

    return asks


async def _asks_on_loop(state: State, mine: str) -> None:
    from lmi_runtime.integrations.boto import aclient

    state.seen.append(("sqs", await aclient("sqs", session=state.session)))


def _one_of_each(state: State) -> None:
    services = {service for service, _ in state.seen}
    assert sorted(state.session.made) == sorted(services), state.session.made
    assert len(set(state.seen)) == len(services), state.seen


def _warm() -> None:
    serves("a", _asks("sqs"))(_with_session())


def clients_of_two() -> Scenario:
    """Each client is made once, whoever asks first, and a session makes one at a time."""
    _warm()
    both = serves("a", _asks("sqs", "s3")), serves("b", _asks("s3"))
    return Scenario(_with_session, both, _one_of_each, _WATCHED, Budget(preemptions=1))


def client_of_a_task_beside_a_thread() -> Scenario:
    """The same where one of them must not wait on its loop."""
    _warm()
    both = serves("a", _asks_on_loop), serves("b", _asks("sqs"))
    return Scenario(_with_session, both, _one_of_each, _WATCHED, Budget(preemptions=1))
