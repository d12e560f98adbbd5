"""What may be asked for, and what may be had without showing anything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from primary.changes import Change, Withdraw, WithdrawHolder
from registry.address import Address
from registry.contact import ContactValue
from registry.errors import Problem
from registry.kinds import ContactField

# What needs nothing but the management key: it only takes away.
_FREE: Final = (Withdraw, WithdrawHolder)


def take_any(change: Change) -> None:
    """Takes every change: for who is trusted, and for laboratories."""


def check_direct(change: Change) -> None:
    """Problem "proof_required" for a change that only somebody trusted makes without proofs."""
    if not isinstance(change, _FREE):
        raise Problem(
            "proof_required",
            "this registry asks for proofs first: use `smtpnic register`, or `smtpnic holder "
            "update` for the contact",
        )


def check_address(address: Address, *, lab: bool) -> None:
    """Problem "address_special" for an address that cannot be a public mail server's."""
    special = None if lab else address.special_purpose()
    if special is not None:
        raise Problem(
            "address_special",
            f"{address} cannot be a public mail server's ({special}); register a global address",
            "address",
        )


def check_reachable(contact: Iterable[ContactValue], *, relay: bool) -> None:
    """Problem "contact" where nobody could reach the holder: a public field, or the relay."""
    ways = {ContactField.EMAIL, ContactField.TELEPHONE, ContactField.POSTAL_ADDRESS}
    if not relay and not any(value.public and value.field in ways for value in contact):
        raise Problem(
            "contact",
            "this registry forwards no mail: make the e-mail address, the telephone number or the "
            "postal address public, so that there is one way to reach you",
            "contact",
        )
