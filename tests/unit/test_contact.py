"""Contact values, and the commitments that stand for them in the log."""

from __future__ import annotations

import hashlib
import hmac
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.contact import (
    MAX_CONTACT_BYTES,
    Commitment,
    ContactValue,
    Opening,
    check_opening,
    commit,
)
from registry.errors import MalformedError, Problem, ProofError
from registry.kinds import ContactField
from registry.wire.v1 import log_pb2
from tests.support.strategies import commitments, fields, hashes, openings, printable

SALT = bytes(range(32))
NAME = ContactValue(ContactField.NAME, "Example Networks", True)


def test_a_huge_value_is_not_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Megabytes are refused by their first characters, for anyone may send them."""
    looked_at: list[str] = []

    def category(character: str) -> str:
        looked_at.append(character)
        return "Lu"

    monkeypatch.setattr("unicodedata.category", category)
    with pytest.raises(Problem, match="at most"):
        ContactValue(ContactField.NAME, "a" * (4 << 20), False)
    assert len(looked_at) <= MAX_CONTACT_BYTES + 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (ContactField.NAME, "Zoë Müller & Söhne GmbH"),
        (ContactField.NAME, "株式会社 例"),
        (ContactField.POSTAL_ADDRESS, "1 Example Street, 8000 Zürich, Switzerland"),
        (ContactField.EMAIL, "postmaster@example.org"),
        (ContactField.EMAIL, "first.last+registry@bücher.example"),
        (ContactField.EMAIL, f"{'a' * 64}@example.org"),
        (ContactField.TELEPHONE, "+41 44 668 18 00"),
        (ContactField.TELEPHONE, "+1 (555) 010-0199"),
        (ContactField.TELEPHONE, "+1.202.555.0123"),
        (ContactField.TELEPHONE, "+883 5100 0129 0001"),
        (ContactField.EMAIL, "用户@例え.example"),
    ],
)
def test_ordinary_contact_is_taken(field: ContactField, value: str) -> None:
    """What people give is kept as it is."""
    assert ContactValue(field, value, public=True).value == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (ContactField.NAME, ""),
        (ContactField.NAME, " Example"),
        (ContactField.NAME, "Example\n"),
        (ContactField.NAME, "Example\nholder: another"),
        (ContactField.NAME, "Example\u2028Networks"),
        (ContactField.NAME, "Example\x1b[2J"),
        (ContactField.NAME, "Example\u202egro"),
        (ContactField.NAME, "Example\ud800"),
        (ContactField.NAME, "x" * (MAX_CONTACT_BYTES + 1)),
        (ContactField.POSTAL_ADDRESS, "é" * (MAX_CONTACT_BYTES // 2 + 1)),
        (ContactField.EMAIL, "example.org"),
        (ContactField.EMAIL, "@example.org"),
        (ContactField.EMAIL, "post master@example.org"),
        (ContactField.EMAIL, "a@b@example.org"),
        (ContactField.EMAIL, "<postmaster@example.org>"),
        (ContactField.EMAIL, "postmaster@localhost"),
        (ContactField.EMAIL, "postmaster@[192.0.2.36]"),
        (ContactField.EMAIL, f"{'a' * 65}@example.org"),
        (ContactField.EMAIL, f"a@{'.'.join(['abcdefg'] * 32)}"),
        (ContactField.TELEPHONE, "044 668 18 00"),
        (ContactField.TELEPHONE, "+41 44 668 18 00 ext. 3"),
        (ContactField.TELEPHONE, "+1234"),
        (ContactField.TELEPHONE, "+999 123456789"),
        (ContactField.TELEPHONE, "+1 202 555 01"),
        (ContactField.EMAIL, "first..last@example.org"),
        (ContactField.TELEPHONE, "+1234567890123456"),
        (ContactField.TELEPHONE, "+٤١٤٤٦٦٨"),
    ],
)
def test_contact_that_cannot_be_used_is_refused(field: ContactField, value: str) -> None:
    """Empty, unprintable, several lines, too long, or not the kind of thing: the field is named."""
    with pytest.raises(Problem) as caught:
        ContactValue(field, value, public=True)
    assert (caught.value.code, caught.value.field) == ("contact", field.name.lower())


@given(fields, st.text(max_size=100))
def test_any_text_is_contact_or_a_problem(field: ContactField, value: str) -> None:
    """Arbitrary text is taken as it is or refused, and what is taken is one line."""
    try:
        contact = ContactValue(field, value, public=False)
    except Problem:
        return
    assert contact.value.splitlines() == [value]


def test_a_commitment_is_a_keyed_hash_of_field_and_value() -> None:
    """HMAC-SHA256 under the salt, over the field's number and the value in UTF-8."""
    commitment, opening = commit(NAME, SALT)

    message = b"\x01" + b"Example Networks"
    assert commitment.digest == hmac.new(SALT, message, hashlib.sha256).digest()
    assert opening == Opening(ContactField.NAME, SALT, "Example Networks")


@given(fields, printable, hashes)
def test_an_opening_opens_its_commitment(field: ContactField, value: str, salt: bytes) -> None:
    """What was committed to is what opens it."""
    opening = Opening(field, salt, value)
    digest = hmac.digest(salt, bytes([field]) + value.encode(), "sha256")

    check_opening(Commitment(field, digest), opening)


@pytest.mark.parametrize(
    "opening",
    [
        Opening(ContactField.NAME, SALT, "Example Network"),
        Opening(ContactField.NAME, bytes(32), "Example Networks"),
        Opening(ContactField.POSTAL_ADDRESS, SALT, "Example Networks"),
    ],
)
def test_a_false_opening_is_refused(opening: Opening) -> None:
    """Another value, another salt or another field opens nothing."""
    commitment, _ = commit(NAME, SALT)

    with pytest.raises(ProofError):
        check_opening(commitment, opening)


def test_one_field_never_opens_another() -> None:
    """The same value and salt under two fields are two commitments."""
    address = ContactValue(ContactField.POSTAL_ADDRESS, NAME.value, public=True)

    assert commit(NAME, SALT)[0].digest != commit(address, SALT)[0].digest


@given(commitments, openings)
def test_messages_lead_back(commitment: Commitment, opening: Opening) -> None:
    """Commitments and openings come back from the wire as they were."""
    assert Commitment.from_message(commitment.to_message()) == commitment
    assert Opening.from_message(opening.to_message()) == opening


@pytest.mark.parametrize(
    "message",
    [
        log_pb2.Opening(field=log_pb2.CONTACT_FIELD_NAME, salt=bytes(31), value="x"),
        log_pb2.Opening(field=log_pb2.CONTACT_FIELD_NAME, salt=bytes(32)),
        log_pb2.Opening(salt=bytes(32), value="x"),
        log_pb2.Opening(field=log_pb2.CONTACT_FIELD_NAME, salt=bytes(32), value="x" * 1025),
    ],
)
def test_an_opening_with_wrong_parts_is_malformed(message: log_pb2.Opening) -> None:
    """Salt, field and value have to be there, in their lengths."""
    with pytest.raises(MalformedError):
        Opening.from_message(message)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_commitment_of_another_length_is_malformed(length: int) -> None:
    """A digest has 32 bytes."""
    with pytest.raises(MalformedError):
        Commitment(ContactField.NAME, bytes(length))


@pytest.mark.parametrize(
    ("number", "whole"),
    [
        ("+41 (0)44 668 18 00", "+41446681800"),
        ("+44 (0) 20 7946 0018", "+442079460018"),
        ("+1 (202) 555-0123", ""),
        ("+39 06 698 12345", ""),
    ],
)
def test_a_telephone_number_is_reached_by_its_digits(number: str, whole: str) -> None:
    """A zero that is dialled within the country alone is refused, with the number as it should be.

    Parentheses are not the fault, and Italy's zero is dialled from everywhere.
    """
    value = ContactValue(ContactField.TELEPHONE, number, public=True)
    if not whole:
        value.check_dialled()
        return
    with pytest.raises(Problem, match=re.escape(whole)) as caught:
        value.check_dialled()
    assert caught.value.field == "telephone"
