"""The ledger: what the living write, the dead leave behind, whole or not at all."""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from lmi_runtime.model import InFlightLedger, Invocation
from lmi_runtime.supervisor.ledger import IDS_BYTES, InFlight, SharedLedger
from tests.support.examples import few

ids = st.text(max_size=60).filter(lambda text: len(_bytes(text)) <= IDS_BYTES // 2)
invocations = st.builds(Invocation, request_id=ids, invocation_id=st.none() | ids)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def facts(invocation: Invocation) -> InFlight:
    return InFlight(invocation.request_id, invocation.invocation_id)


def test_it_is_the_port_the_dispatcher_knows() -> None:
    ledger: InFlightLedger = SharedLedger(1)

    assert ledger.begin(Invocation(request_id="r")) >= 0


@few()
@given(st.lists(invocations, max_size=8), st.sets(st.integers(0, 7)))
def test_what_began_and_did_not_end_is_read_back(served: list[Invocation], ended: set[int]) -> None:
    ledger = SharedLedger(8)
    tickets = [ledger.begin(invocation) for invocation in served]
    for number in ended & set(range(len(served))):
        ledger.end(tickets[number])

    expected = [facts(it) for number, it in enumerate(served) if number not in ended]

    assert sorted(ledger.read().in_flight, key=repr) == sorted(expected, key=repr)


@pytest.mark.parametrize(
    ("request_id", "invocation_id"),
    [("r", None), ("r", ""), ("", "i"), ("ab", "c"), ("a", "bc"), ("\ud800", "é" * 30)],
)
def test_ids_come_back_as_they_were(request_id: str, invocation_id: str | None) -> None:
    """No id and an empty one differ, and so do two ids that are cut elsewhere."""
    ledger = SharedLedger(1)
    ledger.begin(Invocation(request_id=request_id, invocation_id=invocation_id))

    assert ledger.read().in_flight == (InFlight(request_id, invocation_id),)


def test_a_full_ledger_counts_what_it_cannot_note() -> None:
    ledger = SharedLedger(2)
    tickets = [ledger.begin(Invocation(request_id=str(number))) for number in range(5)]

    assert ledger.read().unmirrored == 3
    assert len(ledger.read().in_flight) == 2

    for ticket in tickets:
        ledger.end(ticket)

    assert ledger.read().unmirrored == 0
    assert ledger.read().in_flight == ()


@pytest.mark.parametrize("length", [IDS_BYTES - 1, IDS_BYTES, 300])
def test_ids_that_do_not_fit_are_counted_and_never_cut(length: int) -> None:
    """An id cut short would be somebody else's."""
    ledger = SharedLedger(1)
    ledger.begin(Invocation(request_id="r" * length, invocation_id="i"))
    fits = length + 1 <= IDS_BYTES

    assert ledger.read().unmirrored == (0 if fits else 1)
    assert [len(it.request_id) for it in ledger.read().in_flight] == ([length] if fits else [])


def test_a_ticket_ends_once() -> None:
    """Twice would put one record into two hands."""
    ledger = SharedLedger(4)
    ticket = ledger.begin(Invocation(request_id="r"))
    ledger.end(ticket)

    with pytest.raises(ValueError, match="not in flight"):
        ledger.end(ticket)


def test_an_answer_is_remembered() -> None:
    ledger = SharedLedger(1)
    first = ledger.begin(Invocation(request_id="r"))
    assert not ledger.answered_any

    ledger.end(first)
    ledger.begin(Invocation(request_id="s"))

    assert ledger.answered_any


def test_a_ledger_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        SharedLedger(0)


@given(old=st.none() | invocations, new=invocations, data=st.data())
def test_a_torn_record_never_shows_a_wrong_id(
    old: Invocation | None, new: Invocation, data: st.DataObject
) -> None:
    """
    Any mixture of the bytes before and after a write reads as the old record, the new one, or
    nothing, even with the state byte set: the checksum takes no chimera.
    """
    ledger = SharedLedger(1)
    if old is not None:
        ledger.end(ledger.begin(old))
    before = bytes(ledger._memory[:])
    offset = ledger.begin(new)
    after = bytes(ledger._memory[:])

    changed = [at for at in range(len(after)) if before[at] != after[at] and at != offset]
    taken = data.draw(st.sets(st.sampled_from(changed)) if changed else st.just(set()))
    torn = bytearray(before)
    for at in taken:
        torn[at] = after[at]
    torn[offset] = 1
    ledger._memory[:] = bytes(torn)

    possible = {facts(new)} | ({facts(old)} if old is not None else set())
    # A record nobody ever wrote is all zero, which must not read as two empty ids.
    assert set(ledger.read().in_flight) <= possible


@few()
@given(old=invocations, new=invocations, cut=st.integers(0, 255))
def test_a_worker_killed_while_it_notes_leaves_the_record_unused(
    old: Invocation, new: Invocation, cut: int
) -> None:
    """In program order the state byte comes last, so a cut anywhere before it hides the rest."""
    ledger = SharedLedger(1)
    ledger.end(ledger.begin(old))
    before = bytes(ledger._memory[:])
    offset = ledger.begin(new)
    after = bytes(ledger._memory[:])

    body = offset + 1
    ledger._memory[:] = before[:body] + after[body : body + cut] + before[body + cut :]

    assert ledger.read().in_flight == ()
    assert ledger.read().torn == 0


@pytest.mark.parametrize(("request_length", "delivery_length"), [(1, 2), (3, 0), (0, 3), (3, 255)])
def test_the_same_bytes_cut_elsewhere_are_torn(request_length: int, delivery_length: int) -> None:
    """The lengths are part of the checksum: they decide whose id it is."""
    ledger = SharedLedger(1)
    offset = ledger.begin(Invocation(request_id="ab", invocation_id="c"))
    ledger._memory[offset + 5] = request_length
    ledger._memory[offset + 6] = delivery_length

    assert ledger.read().in_flight == ()
    assert ledger.read().torn == 1


def test_lengths_out_of_range_are_torn() -> None:
    ledger = SharedLedger(1)
    offset = ledger.begin(Invocation(request_id="r", invocation_id="i"))
    ledger._memory[offset + 5] = 250

    assert ledger.read().in_flight == ()
    assert ledger.read().torn == 1


@pytest.mark.parametrize("capacity", [1, 3, 16])
def test_records_do_not_overlap(capacity: int) -> None:
    """Every order of ending leaves the others untouched."""
    for order in itertools.islice(itertools.permutations(range(capacity)), 24):
        ledger = SharedLedger(capacity)
        tickets = [ledger.begin(Invocation(request_id=f"r{n}")) for n in range(capacity)]
        alive = {f"r{n}" for n in range(capacity)}
        for number in order:
            ledger.end(tickets[number])
            alive.discard(f"r{number}")
            assert {it.request_id for it in ledger.read().in_flight} == alive


class LedgerMachine(RuleBasedStateMachine):
    """Any sequence of begins and ends, against a plain dictionary."""

    tickets = Bundle("tickets")

    @initialize(capacity=st.integers(1, 5))
    def make(self, capacity: int) -> None:
        self.capacity = capacity
        self.ledger = SharedLedger(capacity)
        self.noted: dict[int, InFlight] = {}
        self.unnoted = 0

    @rule(target=tickets, invocation=invocations)
    def begin(self, invocation: Invocation) -> int:
        ticket = self.ledger.begin(invocation)
        if ticket < 0:
            self.unnoted += 1
        else:
            assert ticket not in self.noted
            self.noted[ticket] = facts(invocation)
        return ticket

    @rule(ticket=consumes(tickets))
    def end(self, ticket: int) -> None:
        self.ledger.end(ticket)
        if ticket < 0:
            self.unnoted -= 1
        else:
            del self.noted[ticket]

    @invariant()
    def reading_is_exact(self) -> None:
        reading = self.ledger.read()
        assert sorted(reading.in_flight, key=repr) == sorted(self.noted.values(), key=repr)
        assert (reading.unmirrored, reading.torn) == (self.unnoted, 0)
        assert self.unnoted == 0 or len(self.noted) <= self.capacity


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = few()


def test_closing_gives_the_memory_back() -> None:
    ledger = SharedLedger(1)

    ledger.close()

    with pytest.raises(ValueError, match="closed"):
        ledger.read()


def test_a_small_worker_costs_less_than_a_page() -> None:
    assert len(SharedLedger(1)._memory) < os.sysconf("SC_PAGESIZE")
