"""Functions that have ended already, as those that are called in their place."""

from __future__ import annotations

import gc
import weakref

import pytest

from lmi_runtime.integrations.powertools.endings import raising, returning


class Refused(Exception):
    pass


def test_what_was_returned() -> None:
    assert returning("answer")("whatever", else_="is") == "answer"


def test_an_error_is_freed_as_soon_as_it_has_been_dealt_with() -> None:
    def fail() -> weakref.ref[Refused]:
        error = Refused()
        reference = weakref.ref(error)
        ended = raising(error)
        del error
        with pytest.raises(Refused):
            ended("whatever", else_="is")
        return reference

    gc.collect()
    gc.disable()
    try:
        reference = fail()
        assert reference() is None
    finally:
        gc.enable()
