"""The table of names: what it takes from the log, and what it gives to the responder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.address import Address
from registry.entry import Entry, state_key
from registry.kinds import Kind, Operation, Status
from secondary.dns.table import DictTable, Listing
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
LISTING = Listing(Status.NEW, REGISTERED_MS // 1000, "mail.example.org")


@pytest.mark.parametrize("address", [V4, V6])
def test_a_registration_is_found_by_its_address(address: Address) -> None:
    """What DNS says of it comes back, whatever the family."""
    table = DictTable()
    put_registration(table, str(address), registration())

    assert LISTING == table.find(address)
    assert 1 == len(table)


def test_an_address_that_was_not_put_is_not_found() -> None:
    """Absence is None, never an error."""
    table = DictTable()
    put_registration(table, str(V4), registration())

    assert table.find(Address.parse("192.0.2.37")) is None
    assert table.find(V6) is None


def test_the_newest_registration_of_an_address_counts() -> None:
    """A later put takes the place of an earlier one."""
    table = DictTable()
    put_registration(table, str(V4), registration(Status.NEW))
    put_registration(table, str(V4), registration(Status.ACTIVE, host="mx.example.org"))

    assert Listing(Status.ACTIVE, LISTING.since_s, "mx.example.org") == table.find(V4)
    assert 1 == len(table)


@pytest.mark.parametrize("status", [Status.SUSPENDED, Status.LAPSED])
def test_what_is_not_listed_any_more_is_gone(status: Status) -> None:
    """Suspended and lapsed do not exist for receivers, and come back when they are active."""
    table = DictTable()
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
def test_any_listed_looks_at_the_addresses_between(
    steps: list[tuple[bool, int, int]], first: int, last: int
) -> None:
    """Both ends count, families are apart, and what was removed does not count."""
    table = DictTable()
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


def test_a_removed_registration_is_gone() -> None:
    """Removal takes it out; a second removal is no error."""
    table = DictTable()
    put_registration(table, str(V4), registration())

    table.remove(state_key(Kind.REGISTRATION, V4.packed))
    table.remove(state_key(Kind.REGISTRATION, V4.packed))

    assert table.find(V4) is None
    assert 0 == len(table)


def test_other_kinds_are_no_names() -> None:
    """A holder whose identifier looks like an address is not an address."""
    table = DictTable()
    put_entry(table, Entry(Kind.HOLDER, HOLDER_ID, Operation.PUT, False, 1, b"holder"), 3)

    assert 0 == len(table)
    assert table.find(Address(HOLDER_ID)) is None


def test_standing_moves_on_with_advance() -> None:
    """The standing is the newest one given."""
    table = DictTable()
    table.advance(standing(serial=7))
    table.advance(standing(serial=9))

    assert 9 == table.standing.position.state.zone_serial


def test_a_table_that_was_not_loaded_has_no_standing() -> None:
    """To ask for it is a mistake of the caller."""
    with pytest.raises(RuntimeError, match="not loaded"):
        _ = DictTable().standing
