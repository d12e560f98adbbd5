"""What an entry says of its key, checked as its kind asks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from registry.batch import LoggedEntry
from registry.contact import Opening
from registry.content import check_content
from registry.entry import Entry
from registry.errors import MalformedError, NewerLogError, ProofError
from registry.kinds import ContactField, Kind, Operation
from tests.support.log_builder import LogBuilder

UNKNOWN_KIND = 200


def logged_holder() -> tuple[Entry, tuple[Opening, ...]]:
    """A holder's put with the openings of its public contact."""
    builder = LogBuilder()
    builder.put_holder()
    logged: LoggedEntry = builder.commit().entries[0]
    return Entry.decode(logged.entry), logged.openings


def entry(kind: int, key: bytes, payload: bytes = b"", *, critical: bool = False) -> Entry:
    """A put of anything."""
    return Entry(kind, key, Operation.PUT, critical, 1, payload)


def test_openings_may_be_there_or_not() -> None:
    """A holder holds with all its public openings, with some, and after they were erased."""
    holder, openings = logged_holder()

    check_content(holder, openings)
    check_content(holder, openings[:1])
    check_content(holder, ())


def test_a_false_opening_is_refused() -> None:
    """A value that was not committed to never passes for contact."""
    holder, (opening, *_) = logged_holder()

    with pytest.raises(ProofError):
        check_content(holder, (replace(opening, value="Example Imposters"),))


def test_an_opening_is_given_once() -> None:
    """A second opening of a field, or one of a field not committed to, opens nothing."""
    holder, (opening, *_) = logged_holder()
    nothing = LogBuilder()
    nothing.put_holder(public={}, private={})
    bare = Entry.decode(nothing.commit().entries[0].entry)

    with pytest.raises(ProofError):
        check_content(holder, (opening, opening))
    with pytest.raises(ProofError):
        check_content(bare, (opening,))


@pytest.mark.parametrize(
    "other",
    [
        entry(UNKNOWN_KIND, b"k"),
        entry(Kind.STATE, b""),
        Entry(Kind.HOLDER, bytes(16), Operation.DELETE, False, 1, b""),
        Entry(Kind.REGISTRATION, bytes(4), Operation.DELETE, False, 1, b""),
    ],
)
def test_only_a_holder_has_openings(other: Entry) -> None:
    """Beside anything else an opening is malformed; without, these are fine."""
    check_content(other, ())
    with pytest.raises(MalformedError):
        check_content(other, (Opening(ContactField.NAME, bytes(32), "x"),))


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (Kind.HOLDER, bytes(16)),
        (Kind.REGISTRATION, bytes(16)),
        (Kind.MEMBER, b"m1"),
        (Kind.ROOT, bytes(8)),
        (Kind.DECISION, bytes(16)),
    ],
)
def test_a_known_kind_has_its_payload(kind: Kind, key: bytes) -> None:
    """What is signed is still checked to be what its kind asks for."""
    with pytest.raises(MalformedError):
        check_content(entry(kind, key, b"\xff"), ())


@pytest.mark.parametrize("kind", [UNKNOWN_KIND, Kind.POLICY])
def test_what_must_be_understood_stops(kind: int) -> None:
    """A critical kind that this software does not understand is an error; another is passed on."""
    check_content(entry(kind, b"k", b"\xff"), ())
    with pytest.raises(NewerLogError, match=str(int(kind))):
        check_content(entry(kind, b"k", b"\xff", critical=True), ())
