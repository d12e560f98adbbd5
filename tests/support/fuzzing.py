"""What fuzzing asks of fast paths and bulk load; tests ask again what it found."""

from __future__ import annotations

from contextlib import suppress

from registry.batch import outline_slot
from registry.content import check_stored
from registry.errors import RegistryError
from secondary.dns.compiled.loading import BulkLoad
from secondary.dns.compiled.table import CompiledTable
from secondary.dns.implementation import Implementation
from tests.support.fast_path import Both
from tests.support.views import NOW_S

MAX_ANSWER_BYTES = 1232
CLIENTS = (bytes([198, 51, 100, 7]), bytes(range(16)))
FAST = [Both(implementation) for implementation in Implementation]


def check_answer(data: bytes) -> None:
    """The first byte chooses what is fuzzed; the rest is a datagram, or a record of the log."""
    choice, wire = data[:1] or b"\0", data[1:]
    if choice[0] & 0x80:
        check_record(wire)
        return
    for both in FAST:
        fast, slow = both.ask(wire, CLIENTS[choice[0] & 1], now=NOW_S + (choice[0] >> 1) * 100)
        assert fast in (None, slow)
        assert len(slow) <= MAX_ANSWER_BYTES


def check_record(record: bytes) -> None:
    """A record that the common parser takes is taken by the page, to mean the same."""
    table, other = CompiledTable(), CompiledTable()
    load = BulkLoad(other)
    try:
        state_key, payload, slot = outline_slot(record)
        check_stored(state_key, payload, record)
        table.put(state_key, payload, record)
    except (RegistryError, ValueError):
        # What it takes beyond that, a state root would have to cover.
        with suppress(RegistryError, ValueError):
            load.take([record])
        return
    load.take([record])
    assert table.agrees_with(other)
    assert load.buckets() == {slot[0] << 8 | slot[1]: slot}
