"""What a process has one of."""

from __future__ import annotations

import threading

from lmi_runtime._sync import ProcessWide


def test_everybody_gets_the_same() -> None:
    thing = ProcessWide(object)
    others: list[object] = []
    thread = threading.Thread(target=lambda: others.append(thing()))
    thread.start()
    thread.join()

    assert others == [thing()]


def test_it_is_made_when_it_is_asked_for() -> None:
    made: list[int] = []
    thing = ProcessWide(lambda: made.append(1))
    assert made == []

    thing()
    thing()

    assert made == [1]


def test_who_asks_while_it_is_made_gets_the_same() -> None:
    got: list[list[int]] = []

    def make() -> list[int]:
        if not got:
            got.append([])
            got[0] = thing()  # as another thread would, just now
        return []

    thing = ProcessWide(make)

    assert thing() is got[0]
    assert thing() is got[0]


def test_a_child_gets_another_one() -> None:
    thing = ProcessWide(object)
    before = thing()

    thing.begin_anew()

    assert thing() is not before
    assert thing() is thing()
