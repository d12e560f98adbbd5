"""A table loaded by the page is the one that is loaded record by record."""

from __future__ import annotations

from random import Random

import pytest

from registry.address import Address
from registry.batch import Record, outline_slot
from registry.content import check_stored
from registry.entry import Entry
from registry.errors import RegistryError
from registry.kinds import Kind, Operation, Status
from registry.registration import Registration
from registry.state_tree import StateTree
from secondary.dns.compiled.loading import BulkLoad
from secondary.dns.compiled.table import CompiledTable
from tests.support.fast_path import mutated
from tests.support.views import CHANGED_MS, HOLDER_ID, REGISTERED_MS


def record(random: Random, index: int) -> bytes:
    """A record of a registration as registries have them, or of another kind."""
    if random.random() < 0.1:
        key, payload, kind = random.randbytes(16), random.randbytes(40), Kind.HOLDER
    else:
        host = "a" * random.randrange(1, 60) + ".example.org"
        status = random.choice([Status.NEW, Status.ACTIVE, Status.LAPSED])
        reason = "moved" if random.random() < 0.1 else ""
        value = Registration(HOLDER_ID, host, "example.org", status, REGISTERED_MS, reason)
        key, payload, kind = (
            random.randbytes(random.choice([4, 16])),
            value.encode(),
            Kind.REGISTRATION,
        )
    entry = Entry(kind, key, Operation.PUT, False, CHANGED_MS, payload)
    return Record(index, entry.encode()).encode()


def one_by_one(records: list[bytes]) -> tuple[CompiledTable, StateTree]:
    table, slots = CompiledTable(), []
    for data in records:
        state_key, payload, slot = outline_slot(data)
        table.put(state_key, payload, data)
        slots.append(slot)
    return table, StateTree.build(slots)


def by_the_page(records: list[bytes]) -> tuple[CompiledTable, StateTree]:
    table = CompiledTable()
    load = BulkLoad(table)
    for begin in range(0, len(records), 100):
        load.take(records[begin : begin + 100])
    return table, StateTree.of_buckets(load.buckets())


@pytest.mark.parametrize("count", [0, 1, 3000])
def test_same_table_and_tree(count: int) -> None:
    """All kinds, families and states."""
    random = Random(count)
    records = [record(random, index) for index in range(count)]
    (table, tree), (other, other_tree) = one_by_one(records), by_the_page(records)
    assert table.agrees_with(other)
    assert (tree.root, tree.live) == (other_tree.root, other_tree.live)


def test_same_table_and_tree_of_strange_bytes() -> None:
    """Whatever the parser of everybody else takes is taken here to mean the same."""
    random = Random(5)
    taken = 0
    for index in range(10_000):
        data = mutated(random, record(random, index))
        table, other = CompiledTable(), CompiledTable()
        try:
            state_key, payload, slot = outline_slot(data)
            check_stored(state_key, payload, data)
            table.put(state_key, payload, data)
        except (RegistryError, ValueError):
            continue
        taken += 1
        load = BulkLoad(other)
        load.take([data])
        assert table.agrees_with(other), data.hex()
        assert load.buckets() == {slot[0] << 8 | slot[1]: slot}, data.hex()
    assert taken > 1000


def test_two_records_of_one_key_are_refused() -> None:
    """Though their indexes differ."""
    random = Random(3)
    first = record(random, 1)
    entry = Record.decode(first).entry
    with pytest.raises(RegistryError, match="two slots of one key"):
        by_the_page([first, Record(2, entry).encode()])


@pytest.mark.parametrize("data", [b"", b"\x12", b"\x12\x7f", b"\xff" * 30])
def test_what_is_no_record_is_refused(data: bytes) -> None:
    """As one by one."""
    with pytest.raises(RegistryError):
        by_the_page([data])


def test_addresses_have_four_or_sixteen_bytes() -> None:
    """What is no address has no place in the table."""
    value = Registration(HOLDER_ID, "a.example.org", "example.org", Status.NEW, REGISTERED_MS)
    message = bytearray(
        Record(
            1,
            Entry(
                Kind.REGISTRATION,
                Address.parse("192.0.2.1").packed,
                Operation.PUT,
                False,
                1,
                value.encode(),
            ).encode(),
        ).encode()
    )
    at = message.index(bytes([0x12, 4, 192, 0, 2, 1]))
    message[at + 1] -= 1
    del message[at + 2]
    message[message.index(0x12) + 1] -= 1
    with pytest.raises((RegistryError, ValueError)):
        by_the_page([bytes(message)])
