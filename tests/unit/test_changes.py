"""Changes: checked when they are made."""

from __future__ import annotations

from typing import Any

import pytest

from primary.changes import (
    Change,
    ContactChange,
    CreateHolder,
    Register,
    Update,
    UpdateHolder,
    Withdraw,
    WithdrawHolder,
)
from registry.address import Address
from registry.errors import Problem
from registry.kinds import ContactField
from tests.support.sequencing import CONTACT, EMAIL, NAME, OTHER_EMAIL, contact_with, hidden

HOLDER, KEY = bytes(16), bytes(32)
ADDRESS = Address.parse("192.0.2.36")

EVERY_KIND: list[Change] = [
    CreateHolder(HOLDER, KEY, CONTACT),
    UpdateHolder(HOLDER, KEY, CONTACT),
    WithdrawHolder(HOLDER, KEY),
    Register(HOLDER, KEY, ADDRESS, "mail.example.org", "example.org"),
    Update(HOLDER, KEY, ADDRESS, "mail.example.org", "example.org"),
    Withdraw(HOLDER, KEY, ADDRESS),
]


def test_names_become_canonical() -> None:
    """However they are written, the change is the same, and so is its digest."""
    written = Register(HOLDER, KEY, ADDRESS, "Mail.EXAMPLE.org.", "Example.Org")
    assert ("mail.example.org", "example.org") == (written.host, written.domain)
    assert written == EVERY_KIND[3]
    assert written.digest() == EVERY_KIND[3].digest()


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"holder_id": b"short"}, "holder"),
        ({"management_key": b"short"}, "management_key"),
        ({"idempotency_key": bytes(15)}, "idempotency_key"),
        ({"idempotency_key": bytes(65)}, "idempotency_key"),
        ({"expected_version": -1}, "version"),
        ({"host": "mail"}, "host"),
        ({"domain": "org"}, "domain"),
        ({"domain": "example.net"}, "domain"),
        ({"domain": "l.example.org"}, "domain"),
    ],
)
def test_a_malformed_change_cannot_be_made(parts: dict[str, Any], code: str) -> None:
    """The problem says which part."""
    right = {
        "holder_id": HOLDER,
        "management_key": KEY,
        "address": ADDRESS,
        "host": "mail.example.org",
        "domain": "example.org",
    }
    with pytest.raises(Problem) as caught:
        Register(**{**right, **parts})
    assert code == caught.value.code
    assert caught.value.field


def test_a_contact_field_is_given_once() -> None:
    """Nobody could tell which of two counts."""
    with pytest.raises(Problem) as caught:
        CreateHolder(HOLDER, KEY, (*CONTACT, OTHER_EMAIL))
    assert ("contact", "email") == (caught.value.code, caught.value.field)


@pytest.mark.parametrize("kind", [CreateHolder, UpdateHolder])
@pytest.mark.parametrize("missing", ContactField)
def test_no_contact_field_may_be_missing(kind: type[ContactChange], missing: ContactField) -> None:
    """Whoever registers can be written to and called: the message names what is missing."""
    with pytest.raises(Problem) as caught:
        kind(HOLDER, KEY, tuple(value for value in CONTACT if value.field != missing))
    assert ("contact", "contact") == (caught.value.code, caught.value.field)
    assert caught.value.message.startswith(f"{missing.name.lower()} missing; give each of")


def test_all_that_is_missing_is_named_at_once() -> None:
    """Nobody has to ask four times."""
    with pytest.raises(Problem, match="postal_address, telephone missing"):
        UpdateHolder(HOLDER, KEY, (EMAIL, NAME))
    with pytest.raises(Problem, match="name, postal_address, email, telephone missing"):
        CreateHolder(HOLDER, KEY, ())


def test_contact_may_come_in_any_order_and_all_private() -> None:
    """What counts is that it is there."""
    contact = tuple(hidden(value) for value in reversed(CONTACT))
    assert contact == CreateHolder(HOLDER, KEY, contact).contact


def test_different_changes_have_different_digests() -> None:
    """Whatever part of them differs; the idempotency key is not one."""
    others: list[Change] = [
        *EVERY_KIND,
        CreateHolder(HOLDER, KEY, contact_with(OTHER_EMAIL)),
        CreateHolder(HOLDER, KEY, contact_with(hidden(NAME))),
        Register(HOLDER, bytes(31) + b"1", ADDRESS, "mail.example.org", "example.org"),
        Register(bytes(15) + b"1", KEY, ADDRESS, "mail.example.org", "example.org"),
        Register(HOLDER, KEY, ADDRESS, "mail.example.org", "mail.example.org"),
        Register(HOLDER, KEY, Address.parse("192.0.2.37"), "mail.example.org", "example.org"),
        Withdraw(HOLDER, KEY, Address.parse("::")),
        Withdraw(HOLDER, KEY, ADDRESS, expected_version=1),
    ]
    assert len(others) == len({change.digest() for change in others})
    keyed = Withdraw(HOLDER, KEY, ADDRESS, idempotency_key=bytes(16))
    assert EVERY_KIND[5].digest() == keyed.digest()


@pytest.mark.parametrize("change", EVERY_KIND, ids=lambda change: type(change).__name__)
def test_secrets_and_contact_do_not_show(change: Change) -> None:
    """What is logged by mistake holds neither the key nor what may be private."""
    assert repr(KEY) not in repr(change)
    assert NAME.value not in repr(change)
