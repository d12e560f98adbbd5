"""The table of names: what it takes from the log, and what it gives to the responder."""

from __future__ import annotations

import pytest

from registry.address import Address
from registry.entry import Entry, state_key
from registry.kinds import Kind, Operation, Status
from secondary.dns.table import DictTable
from tests.support.views import (
    HOLDER_ID,
    put_entry,
    put_registration,
    registration,
    standing,
)

V4 = Address.parse("192.0.2.36")
V6 = Address.parse("2001:db8::36")


@pytest.mark.parametrize("address", [V4, V6])
def test_a_registration_is_found_by_its_address(address: Address) -> None:
    """What was put comes back whole, whatever the family."""
    table = DictTable()
    put_registration(table, str(address), registration())

    assert registration() == table.find(address)
    assert 1 == len(table)


def test_an_address_that_was_not_put_is_not_found() -> None:
    """Absence is None, never an error."""
    table = DictTable()
    put_registration(table, str(V4), registration())

    assert table.find(Address.parse("192.0.2.37")) is None
    assert table.find(V6) is None


def test_the_newest_registration_of_an_address_counts() -> None:
    """A later put takes the place of an earlier one, its status included."""
    table = DictTable()
    put_registration(table, str(V4), registration(Status.NEW))
    put_registration(table, str(V4), registration(Status.SUSPENDED))

    assert registration(Status.SUSPENDED) == table.find(V4)
    assert 1 == len(table)


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
