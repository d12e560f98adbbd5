"""The table of names: what it takes from the log, and what it gives to the responder."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.address import Address
from registry.entry import Entry, state_key
from registry.kinds import Kind, Operation, Status
from registry.wire.v1 import log_pb2
from secondary.dns.compiled.table import CompiledTable
from secondary.dns.table import DAY_SECONDS, DictTable, Listing
from tests.support.views import (
    HOLDER_ID,
    REGISTERED_MS,
    put_entry,
    put_registration,
    registration,
    standing,
)

V4 = Address.parse("192.0.2.36")
V6 = Address.parse("2001:db8::36")
NewTable = type[DictTable] | type[CompiledTable]
both = pytest.mark.parametrize("new_table", [DictTable, CompiledTable])
LISTING = Listing(
    Status.NEW, REGISTERED_MS // 1000 // DAY_SECONDS * DAY_SECONDS, "mail.example.org"
)


@pytest.mark.parametrize("address", [V4, V6])
@both
def test_a_registration_is_found_by_its_address(new_table: NewTable, address: Address) -> None:
    """What DNS says of it comes back, whatever the family."""
    table = new_table()
    put_registration(table, str(address), registration())

    assert LISTING == table.find(address)
    assert 1 == len(table)


@both
def test_an_address_that_was_not_put_is_not_found(new_table: NewTable) -> None:
    """Absence is None, never an error."""
    table = new_table()
    put_registration(table, str(V4), registration())

    assert table.find(Address.parse("192.0.2.37")) is None
    assert table.find(V6) is None


@both
def test_the_newest_registration_of_an_address_counts(new_table: NewTable) -> None:
    """A later put takes the place of an earlier one."""
    table = new_table()
    put_registration(table, str(V4), registration(Status.NEW))
    put_registration(table, str(V4), registration(Status.ACTIVE, host="mx.example.org"))

    assert Listing(Status.ACTIVE, LISTING.since_s, "mx.example.org") == table.find(V4)
    assert 1 == len(table)


@pytest.mark.parametrize("status", [Status.SUSPENDED, Status.LAPSED])
@both
def test_what_is_not_listed_any_more_is_gone(new_table: NewTable, status: Status) -> None:
    """Suspended and lapsed do not exist for receivers, and come back when they are active."""
    table = new_table()
    put_registration(table, str(V4), registration())
    put_registration(table, str(V4), registration(status))

    assert table.find(V4) is None
    assert 0 == len(table)
    assert not table.any_listed(V4, V4)

    put_registration(table, str(V4), registration(Status.ACTIVE))
    assert table.any_listed(V4, V4)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.sampled_from([4, 16])), max_size=60),
    st.integers(0, 40),
    st.integers(0, 40),
)
@both
def test_any_listed_looks_at_the_addresses_between(
    new_table: NewTable, steps: list[tuple[bool, int, int]], first: int, last: int
) -> None:
    """Both ends count, families are apart, and what was removed does not count."""
    table = new_table()
    listed = set()
    for is_put, number, length in steps:
        address = Address(number.to_bytes(length))
        if is_put:
            put_registration(table, str(address), registration())
            listed.add(address)
        else:
            table.remove(state_key(Kind.REGISTRATION, address.packed))
            listed.discard(address)
    for length in (4, 16):
        between = {Address(number.to_bytes(length)) for number in range(first, last + 1)}
        low, high = Address(first.to_bytes(length)), Address(last.to_bytes(length))
        assert table.any_listed(low, high) == bool(listed & between)


@both
def test_a_removed_registration_is_gone(new_table: NewTable) -> None:
    """Removal takes it out; a second removal is no error."""
    table = new_table()
    put_registration(table, str(V4), registration())

    table.remove(state_key(Kind.REGISTRATION, V4.packed))
    table.remove(state_key(Kind.REGISTRATION, V4.packed))

    assert table.find(V4) is None
    assert 0 == len(table)


@both
def test_other_kinds_are_no_names(new_table: NewTable) -> None:
    """A holder whose identifier looks like an address is not an address."""
    table = new_table()
    put_entry(table, Entry(Kind.HOLDER, HOLDER_ID, Operation.PUT, False, 1, b"holder"), 3)

    assert 0 == len(table)
    assert table.find(Address(HOLDER_ID)) is None


@both
def test_standing_moves_on_with_advance(new_table: NewTable) -> None:
    """The standing is the newest one given."""
    table = new_table()
    table.advance(standing(serial=7))
    table.advance(standing(serial=9))

    assert 9 == table.standing.position.state.zone_serial


@given(
    st.text("abcxyz0189-._", max_size=253)
    | st.text(st.characters(min_codepoint=1, max_codepoint=126), max_size=253)
)
def test_compiled_tables_keep_any_host_as_it_is(host: str) -> None:
    """Few bytes hold the characters of host names; others, and any length, are held as well."""
    table = CompiledTable()
    registered_ms = LISTING.since_s * 1000
    value = log_pb2.Registration(
        host=host, status=log_pb2.STATUS_ACTIVE, registered_ms=registered_ms
    )
    table.put(state_key(Kind.REGISTRATION, V4.packed), value.SerializeToString(), b"")

    assert Listing(Status.ACTIVE, LISTING.since_s, host) == table.find(V4)


@both
def test_a_table_that_was_not_loaded_has_no_standing(new_table: NewTable) -> None:
    """To ask for it is a mistake of the caller."""
    with pytest.raises(RuntimeError, match="not loaded"):
        _ = new_table().standing


def test_compiled_tables_of_any_size_are_dicts() -> None:
    """Blocks fill, split, empty and join; facts move into slots that were left."""
    random, table = Random(1), CompiledTable()
    reference: dict[Address, str] = {}
    for step in range(60_000):
        # It grows, shrinks to almost nothing, and grows again.
        is_put = random.random() < (0.9, 0.1, 0.6)[step // 20_000]
        if is_put or not reference:
            size = random.choice([4, 4, 16])
            address = Address((random.randrange(1 << 24) << 8).to_bytes(size))
            host = "a" * random.randrange(1, 60) + ".example.org"
            put_registration(table, str(address), registration(host=host))
            reference[address] = host
        else:
            address, _ = reference.popitem()
            table.remove(state_key(Kind.REGISTRATION, address.packed))
        if step % 10_000 == 0:
            assert_same(table, reference)
    assert_same(table, reference)
    for address in reference:
        table.remove(state_key(Kind.REGISTRATION, address.packed))
    assert 0 == len(table)
    assert not table.any_listed(Address(bytes(4)), Address(b"\xff" * 4))


def assert_same(table: CompiledTable, reference: dict[Address, str]) -> None:
    """All of the reference is there and nothing else, in order."""
    assert len(table) == len(reference)
    for address, host in reference.items():
        listing = table.find(address)
        assert listing is not None
        assert listing.host == host
    ordered = sorted(address for address in reference if address.family == 4)
    for before, after in pairwise(ordered):
        low = Address((int.from_bytes(before.packed) + 1).to_bytes(4))
        assert low == after or not table.any_listed(
            low, Address((int.from_bytes(after.packed) - 1).to_bytes(4))
        )


def test_compiled_tables_agree_whatever_their_blocks() -> None:
    """Order of arrival and what was removed since do not count; one fact that differs does."""
    one, other = CompiledTable(), CompiledTable()
    addresses = [str(Address((number << 4).to_bytes(4))) for number in range(3000)]
    for address in addresses:
        put_registration(one, address, registration())
    for address in reversed(addresses):
        put_registration(other, address, registration(host="other.example.org"))
        put_registration(other, address, registration())
    assert one.agrees_with(other)
    put_registration(other, addresses[7], registration(Status.ACTIVE))
    assert not one.agrees_with(other)
    other.remove(state_key(Kind.REGISTRATION, Address.parse(addresses[7]).packed))
    assert not one.agrees_with(other)
