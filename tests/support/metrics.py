"""What tests of metrics share: fifty requests whose bodies are written once, and blobs to read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextvars import Context
from typing import Any

from lmi_runtime.context import enter
from tests.support.crowd import COUNT, LambdaContext, TaskCrowd, ThreadCrowd, request_of

__all__ = [
    "Blobs",
    "Body",
    "Crowd",
    "Meanwhile",
    "dimensions",
    "names",
    "namespace",
    "serving",
]

Body = Callable[[int], Iterator[None]]
Blobs = Callable[[], list[dict[str, Any]]]


class Crowd:
    """Fifty requests that meet wherever their body yields."""

    def __init__(self, kind: str, count: int = COUNT) -> None:
        self.is_async = kind.endswith("tasks")
        self.is_bare = kind.startswith("bare")
        self.count = count

    def serve(self, body: Body, decorate: Callable[[Any], Any]) -> list[Any]:
        """Call the handler that `body` is, decorated, for each."""
        if self.is_async:
            tasks = TaskCrowd(self.count, bare=self.is_bare)

            @decorate
            async def handle(event: int, context: Any) -> int:
                for _ in body(event):
                    await tasks.meet()
                return event

            return tasks.serve(lambda number: handle(number, LambdaContext(number)))
        threads = ThreadCrowd(self.count, bare=self.is_bare)

        @decorate
        def handle_now(event: int, context: Any) -> int:
            for _ in body(event):
                threads.meet()
            return event

        return threads.serve(lambda number: handle_now(number, LambdaContext(number)))


class Meanwhile:
    """A thread that may do something in the middle of what the caller does, if it can."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self._thread = threading.Thread(target=action)

    def __call__(self) -> None:
        self._thread.start()
        # Held up by the lock, it is done after this.
        self._thread.join(0.05)

    def join(self) -> None:
        self._thread.join(20)


def names(blob: dict[str, Any]) -> list[str]:
    return [each["Name"] for each in blob["_aws"]["CloudWatchMetrics"][0]["Metrics"]]


def namespace(blob: dict[str, Any]) -> str:
    return str(blob["_aws"]["CloudWatchMetrics"][0]["Namespace"])


def dimensions(blob: dict[str, Any]) -> list[list[str]]:
    found: list[list[str]] = blob["_aws"]["CloudWatchMetrics"][0]["Dimensions"]
    return found


def serving(number: int, job: Callable[[], Any]) -> Any:
    """Run `job` as request number so and so, and leave the request open."""

    def inside() -> Any:
        enter(request_of(number))
        return job()

    return Context().run(inside)
