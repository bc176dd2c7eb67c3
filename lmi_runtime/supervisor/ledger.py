"""
What a worker has in flight, written where its death cannot take it along.

The worker notes every invocation in memory it shares with the supervisor, without a system call.
After the worker's death the supervisor reads who is still waiting and answers for it.

Why a reader never sees a wrong id: a record's state byte is written last and cleared first, so a
worker killed half-way through a record leaves it unused; and a checksum over both ids and their
lengths refuses whatever else a dying process may have scribbled.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from mmap import mmap
from typing import NamedTuple
from zlib import crc32

from lmi_runtime.model import Invocation

__all__ = ["IDS_BYTES", "InFlight", "LedgerReading", "SharedLedger"]

_RECORD_BYTES = 256
_STATE_BYTES = 1
_FIELDS = struct.Struct("<IBB249s")  # checksum, two lengths in bytes, both ids end to end
IDS_BYTES = 249
"""Bytes one record has for the request id and the invocation id together."""

_UNUSED, _LIVE = 0, 1
_NO_INVOCATION_ID = 255  # longer than any length that fits

# The header keeps the records on their own cache lines.
_HEADER_BYTES = 64
_ANSWERED = 0
_UNMIRRORED = struct.Struct("<Q")
_UNMIRRORED_AT = 8

_NOT_MIRRORED = -1


class InFlight(NamedTuple):
    """One delivery nobody has answered yet."""

    request_id: str
    invocation_id: str | None


@dataclass(frozen=True, slots=True)
class LedgerReading:
    """
    What a dead worker left behind.

    Attributes:
        in_flight: The deliveries to answer for it.
        unmirrored: Deliveries that were in flight but could not be noted: the ledger was full or
            the ids too long. Their callers wait for the time-out.
        torn: Records that were live but whose checksum is wrong.
    """

    in_flight: tuple[InFlight, ...]
    unmirrored: int
    torn: int


class SharedLedger:
    """
    An `InFlightLedger` in anonymous memory that survives the process that writes it.

    Made before the fork; the worker writes, the supervisor reads.

    Thread safety: `begin` and `end` from the worker's loop thread only. The supervisor may ask
    `answered_any` at any time and calls `read` only after the worker's death.
    """

    __slots__ = ("_free", "_has_answered", "_memory", "_unmirrored")

    def __init__(self, capacity: int) -> None:
        """Make room for `capacity` deliveries in flight at once; what is beyond goes unnoted."""
        if capacity < 1:
            raise ValueError(f"A ledger needs room for at least 1 delivery, not {capacity}.")
        self._memory = mmap(-1, _HEADER_BYTES + capacity * _RECORD_BYTES)
        # Offsets of unused records; the worker's loop thread only, as are the two below.
        self._free = list(range(_HEADER_BYTES, len(self._memory), _RECORD_BYTES))
        self._has_answered = False
        self._unmirrored = 0

    def begin(self, invocation: Invocation) -> int:
        """Note that `invocation` is being served; returns a ticket for `end`."""
        # Ids are whatever text the wire carried, lone surrogates included.
        request = invocation.request_id.encode("utf-8", "surrogatepass")
        delivery_id = invocation.invocation_id
        if delivery_id is None:
            ids, delivery_length = request, _NO_INVOCATION_ID
        else:
            delivery = delivery_id.encode("utf-8", "surrogatepass")
            ids, delivery_length = request + delivery, len(delivery)
        if len(ids) > IDS_BYTES or not self._free:
            self._count_unmirrored(1)
            return _NOT_MIRRORED
        offset = self._free.pop()
        request_length = len(request)
        _FIELDS.pack_into(
            self._memory,
            offset + _STATE_BYTES,
            crc32(ids, _seed(request_length, delivery_length)),
            request_length,
            delivery_length,
            ids,
        )
        # Last, and as a statement of its own: from here on the supervisor believes the record.
        self._memory[offset] = _LIVE
        return offset

    def end(self, ticket: int) -> None:
        """
        Forget it: it has been answered.

        Raises:
            ValueError: `ticket` was ended before. Going on would let two deliveries share one
                record, and one of them be answered with the other's id.
        """
        if not self._has_answered:
            self._has_answered = True
            self._memory[_ANSWERED] = 1
        if ticket == _NOT_MIRRORED:
            self._count_unmirrored(-1)
            return
        if self._memory[ticket] != _LIVE:
            raise ValueError(f"Ticket {ticket} is not in flight.")
        self._memory[ticket] = _UNUSED
        self._free.append(ticket)

    @property
    def answered_any(self) -> bool:
        """True once the worker has answered at least one invocation."""
        return self._memory[_ANSWERED] == 1

    def read(self) -> LedgerReading:
        """What was in flight when the writer died."""
        live = [
            self._record(offset)
            for offset in range(_HEADER_BYTES, len(self._memory), _RECORD_BYTES)
            if self._memory[offset] == _LIVE
        ]
        whole = tuple(record for record in live if record is not None)
        (unmirrored,) = _UNMIRRORED.unpack_from(self._memory, _UNMIRRORED_AT)
        return LedgerReading(whole, unmirrored, len(live) - len(whole))

    def close(self) -> None:
        """Give the memory back, in this process only."""
        self._memory.close()

    def _count_unmirrored(self, change: int) -> None:
        self._unmirrored = max(0, self._unmirrored + change)
        _UNMIRRORED.pack_into(self._memory, _UNMIRRORED_AT, self._unmirrored)

    def _record(self, offset: int) -> InFlight | None:
        checksum, request_length, delivery_length, ids = _FIELDS.unpack_from(
            self._memory, offset + _STATE_BYTES
        )
        absent = delivery_length == _NO_INVOCATION_ID
        end = request_length + (0 if absent else delivery_length)
        if end > IDS_BYTES or crc32(ids[:end], _seed(request_length, delivery_length)) != checksum:
            return None
        try:
            request_id = ids[:request_length].decode("utf-8", "surrogatepass")
            delivery_id = ids[request_length:end].decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return None
        return InFlight(request_id, None if absent else delivery_id)


def _seed(request_length: int, delivery_length: int) -> int:
    """
    Make the lengths part of the checksum: the same bytes cut elsewhere are other ids.

    The constant keeps a record of nothing but zeros from having a valid checksum.
    """
    return 0x4C4D4900 + (request_length << 8) + delivery_length
