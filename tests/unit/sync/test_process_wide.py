"""What a process has one of."""

from __future__ import annotations

import os
import threading

import pytest

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


def test_one_that_begins_anew_is_another() -> None:
    thing = ProcessWide(object)
    before = thing()

    thing.begin_anew()

    assert thing() is not before
    assert thing() is thing()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # other tests have left threads
def test_a_child_begins_with_another_where_that_is_wanted() -> None:
    lock = ProcessWide(lambda: threading.Lock(), anew_in_child=True)
    thing = ProcessWide(object)
    before = thing()

    with lock():
        child = os.fork()
        if child == 0:
            is_free = lock().acquire(blocking=False)
            os._exit(0 if is_free and thing() is before else 1)

    assert os.waitpid(child, 0)[1] == 0
