"""Entities that threads of one request change, end and send at once."""

from __future__ import annotations

import threading
from contextvars import copy_context
from typing import Any

import pytest
from aws_xray_sdk.core.exceptions.exceptions import AlreadyEndedException
from aws_xray_sdk.core.models.entity import Entity
from aws_xray_sdk.core.models.segment import Segment

from lmi_runtime.context import serving
from tests.support.crowd import COUNT, ThreadCrowd, request_of
from tests.support.xray_daemon import Daemon, facts_of, subsegments_of

BRIEF_S = 0.05


@pytest.mark.parametrize("change", ["put_annotation", "put_metadata", "put_http_meta"])
def test_nothing_is_changed_while_it_ends(
    elsewhere: Any, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Who has seen that an entity is open changes it before it is closed, and sent."""
    segment = elsewhere.begin_segment("segment")
    check = Entity._check_ended
    closing = threading.Thread(target=segment.close)
    closed_in_between = []

    def meanwhile(self: Any) -> None:
        check(self)
        monkeypatch.setattr(Entity, "_check_ended", check)
        closing.start()
        closing.join(BRIEF_S)
        closed_in_between.append(not closing.is_alive())

    monkeypatch.setattr(Entity, "_check_ended", meanwhile)
    getattr(segment, change)("url", "value")
    closing.join()
    assert closed_in_between == [False]
    with pytest.raises(AlreadyEndedException):
        getattr(segment, change)("url", "value")


def test_a_segment_that_two_threads_end_the_last_of_is_sent_once(
    elsewhere: Any, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2)
    is_ready = Segment.ready_to_send
    segment = elsewhere.begin_segment("segment")

    def end_one(name: str) -> None:
        elsewhere.begin_subsegment(name)
        begun.wait()
        segment_ended.wait()
        elsewhere.end_subsegment()

    begun, segment_ended = threading.Barrier(3), threading.Event()
    threads = [threading.Thread(target=copy_context().run, args=(end_one, name)) for name in "ab"]
    for thread in threads:
        thread.start()
    begun.wait()
    elsewhere.end_segment()

    def both_at_once(self: Any) -> Any:
        both.wait()
        return is_ready(self)

    monkeypatch.setattr(Segment, "ready_to_send", both_at_once)
    segment_ended.set()
    for thread in threads:
        thread.join()
    (document,) = daemon.documents()
    assert document["id"] == segment.id
    assert {child["name"] for child in document["subsegments"]} == {"a", "b"}


class Interrupted:
    """An emitter that lets something begin while the first entity is being written out."""

    def __init__(self, emitter: Any, meanwhile: threading.Thread) -> None:
        self.emitter = emitter
        self.meanwhile = meanwhile
        self.interfered: list[bool] = []

    def send_entity(self, entity: Any) -> None:
        if not self.interfered:
            self.meanwhile.start()
            self.meanwhile.join(BRIEF_S)
            self.interfered.append(not self.meanwhile.is_alive())
        self.emitter.send_entity(entity)


def test_a_tree_is_not_sent_while_parts_of_it_are(
    elsewhere: Any, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part would be in both, or in none."""
    elsewhere.streaming_threshold = 0
    segment = elsewhere.begin_segment("segment")
    elsewhere.begin_subsegment("parent")
    end_parent = threading.Thread(target=copy_context().run, args=(elsewhere.end_subsegment,))
    with elsewhere.in_subsegment("part"):
        segment.close()
        interrupted = Interrupted(elsewhere.emitter, end_parent)
        monkeypatch.setattr(elsewhere, "_emitter", interrupted)
    end_parent.join()
    assert interrupted.interfered == [False]
    sent = list(subsegments_of(daemon.documents()))
    assert sorted(document["name"] for document in sent) == ["parent", "part", "segment"]


def test_threads_of_one_request_make_one_tree(elsewhere: Any, daemon: Daemon) -> None:
    """Nothing is lost, or sent twice, though the tree is streamed out while it grows."""
    elsewhere.streaming_threshold = 2
    crowd = ThreadCrowd(bare=True)
    segment = elsewhere.begin_segment("segment")
    parent = elsewhere.begin_subsegment("parent")

    def help_out(number: int) -> None:
        elsewhere.set_trace_entity(parent)
        crowd.meet()
        for deep in range(5):
            with elsewhere.in_subsegment("outer"), elsewhere.in_subsegment(f"{number}.{deep}"):
                pass

    crowd.serve(help_out)
    elsewhere.end_subsegment()
    elsewhere.end_segment()
    sent = list(subsegments_of(daemon.documents()))
    assert len({document["id"] for document in sent}) == len(sent) == 2 + 10 * COUNT
    assert segment.get_total_subsegments_size() >= 0


def test_an_exception_that_requests_share_is_told_in_each_trace(
    on_lambda: Any, daemon: Daemon
) -> None:
    """Such as what a cached computation failed with; and only once within a trace."""
    shared = ValueError("shared")
    for number in (1, 2):
        with (
            serving(request_of(number)),
            pytest.raises(ValueError, match="shared"),
            on_lambda.in_subsegment("outer"),
            on_lambda.in_subsegment("inner"),
        ):
            raise shared
    for number in (1, 2):
        sent = {d["name"]: d for d in daemon.documents() if d["trace_id"] == facts_of(number)[0]}
        (exception,) = sent["inner"]["cause"]["exceptions"]
        assert exception["message"] == "shared"
        assert sent["outer"]["cause"] == exception["id"]
