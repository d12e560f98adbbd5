"""What the registry grants: a change and what is current in, an effect or a Problem out.

Pure: the time, the salts and the records come from the caller.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final, NamedTuple, Protocol

from primary.changes import (
    Admit,
    Change,
    ContactChange,
    CreateHolder,
    HolderChange,
    KeyedChange,
    NameChange,
    Register,
    RegistrationChange,
    ReplaceKey,
    SetStatus,
    Update,
    UpdateHolder,
    Withdraw,
    WithdrawHolder,
)
from primary.registering.asking import check_address
from registry.address import Address
from registry.contact import Commitment, ContactValue, Opening, commit
from registry.errors import Problem
from registry.holder import Holder
from registry.kinds import ContactField, Status
from registry.registration import Registration


@dataclass(frozen=True, slots=True)
class Policy:
    """What the board may set. `lab`: addresses that cannot be public are registered too."""

    lab: bool = False


@dataclass(frozen=True, slots=True)
class Contact:
    """One contact field as the registry keeps it: what opens its commitment, and who may see."""

    opening: Opening
    public: bool


class Account(NamedTuple):
    """What the registry knows of a live holder beside its record.

    `registrations` counts the holder's live ones.
    """

    management_key_hash: bytes
    registrations: int


class View(Protocol):
    """What is current, the changes before this one included."""

    def account(self, holder_id: bytes) -> Account | None:
        """The account of a live holder."""

    def holder(self, holder_id: bytes) -> tuple[int, Holder] | None:
        """The version and record of a live holder."""

    def contact(self, holder_id: bytes) -> Iterable[Contact]:
        """The whole contact of a live holder, what is private included."""

    def registration(self, address: Address) -> tuple[int, Registration] | None:
        """The version and record of a live registration."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What a decision depends on beside the records.

    `time_ms` counts from 1970-01-01T00:00:00Z; `new_salt` gives 32 fresh random bytes.
    """

    time_ms: int
    policy: Policy
    new_salt: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class PutHolder:
    """The holder now has this record, contact and management key."""

    holder_id: bytes
    holder: Holder
    contact: tuple[Contact, ...]
    management_key_hash: bytes


@dataclass(frozen=True, slots=True)
class DeleteHolder:
    """The holder is no more; its contact and its management key are forgotten."""

    holder_id: bytes


@dataclass(frozen=True, slots=True)
class PutRegistration:
    """The address now has this record; `new` if it had none.

    `former_holder` had it, if that is another one now.
    """

    address: Address
    registration: Registration
    new: bool
    former_holder: bytes | None = None


@dataclass(frozen=True, slots=True)
class DeleteRegistration:
    """The holder's registration of the address is no more."""

    address: Address
    holder_id: bytes


@dataclass(frozen=True, slots=True)
class Unchanged:
    """All is as the change asks already, since the entry of this index."""

    version: int


# What the log has an entry for.
Logged = PutHolder | DeleteHolder | PutRegistration | DeleteRegistration
Effect = Logged | Unchanged


def decide(change: Change, view: View, moment: Moment) -> Effect:
    """What the change does.

    Problem "not_found", "exists", "not_yours", "version", "address_special", "in_use" or
    "suspended": it is not granted.
    """
    return _RULES[type(change)](change, view, moment)


def _create_holder(change: CreateHolder, view: View, moment: Moment) -> Effect:
    account = view.account(change.holder_id)
    current = view.holder(change.holder_id)
    if account is None or current is None:
        _check_version(change, 0)
        return _put_holder(change, change.contact, Status.NEW, moment.time_ms, moment)
    if _has_key(change, account) and _same_contact(change, view):
        _check_version(change, current[0])
        return Unchanged(current[0])
    raise Problem(
        "exists", "this holder exists; choose another identifier, or update the holder", "holder_id"
    )


def _update_holder(change: UpdateHolder, view: View, moment: Moment) -> Effect:
    version, holder = _own_holder(change, view)
    if _same_contact(change, view):
        return Unchanged(version)
    return _put_holder(change, change.contact, holder.status, holder.created_ms, moment)


def _replace_key(change: ReplaceKey, view: View, moment: Moment) -> Effect:
    account, current = view.account(change.holder_id), view.holder(change.holder_id)
    if account is None or current is None:
        raise Problem("not_found", "no such holder", "holder_id")
    version, holder = current
    if _has_key(change, account):
        return Unchanged(version)
    return _put_holder(
        change,
        [_value(contact) for contact in view.contact(change.holder_id)],
        holder.status,
        holder.created_ms,
        moment,
    )


def _withdraw_holder(change: WithdrawHolder, view: View, _moment: Moment) -> Effect:
    _own_holder(change, view)
    account = _own_account(change, view)
    if account.registrations:
        raise Problem(
            "in_use",
            f"this holder has {account.registrations} registrations; withdraw them first",
            "holder_id",
        )
    return DeleteHolder(change.holder_id)


def _register(change: Register, view: View, moment: Moment) -> Effect:
    check_address(change.address, lab=moment.policy.lab)
    _own_account(change, view)
    current = view.registration(change.address)
    if current is None:
        _check_version(change, 0)
        registration = Registration(
            change.holder_id, change.host, change.domain, Status.NEW, moment.time_ms
        )
        return PutRegistration(change.address, registration, new=True)
    version, registration = current
    if registration.holder_id != change.holder_id:
        raise Problem("exists", f"{change.address} is registered by another holder", "address")
    if not _same_names(change, registration):
        raise Problem(
            "exists", f"{change.address} is registered with other names; update it", "address"
        )
    _check_version(change, version)
    return Unchanged(version)


def _update(change: Update, view: View, _moment: Moment) -> Effect:
    version, current = _own_registration(change, view)
    if _same_names(change, current):
        return Unchanged(version)
    # Nobody has looked at these names.
    registration = replace(current, host=change.host, domain=change.domain, verified_ms=0)
    return PutRegistration(change.address, registration, new=False)


def _admit(change: Admit, view: View, moment: Moment) -> Effect:
    check_address(change.address, lab=moment.policy.lab)
    _own_account(change, view)
    found = view.registration(change.address)
    if (found[1].holder_id if found else b"") != change.replaces:
        raise Problem("version", f"{change.address} has just changed hands; look again", "address")
    registration = Registration(
        *(change.holder_id, change.host, change.domain, Status.NEW, moment.time_ms),
        verified_ms=moment.time_ms,
    )
    if found is None:
        return PutRegistration(change.address, registration, new=True)
    version, current = found
    # Registered anew it would be new, and the suspension forgotten.
    if current.status is Status.SUSPENDED:
        raise Problem("suspended", f"{change.address} is suspended; ask the board", "address")
    if current.holder_id != change.holder_id:
        return PutRegistration(
            change.address, registration, new=False, former_holder=current.holder_id
        )
    status = Status.NEW if current.status is Status.LAPSED else current.status
    kept = replace(current, host=change.host, domain=change.domain, status=status, reason="")
    if kept == current:
        return Unchanged(version)
    verified = replace(kept, verified_ms=moment.time_ms)
    return PutRegistration(change.address, verified, new=False)


def _set_status(change: SetStatus, view: View, moment: Moment) -> Effect:
    found = view.registration(change.address)
    if found is None or found[1].holder_id != change.holder_id:
        raise Problem("not_found", f"{change.address} is not this holder's", "address")
    version, current = found
    _check_version(change, version)
    changed = replace(current, status=change.status, reason=change.reason)
    if changed == current:
        return Unchanged(version)
    if change.status in (Status.ACTIVE, Status.NEW):
        # It held when the week was over, or holds again.
        changed = replace(changed, verified_ms=moment.time_ms)
    return PutRegistration(change.address, changed, new=False)


def _withdraw(change: Withdraw, view: View, _moment: Moment) -> Effect:
    _, current = _own_registration(change, view)
    # Withdrawn and registered again it would be new, and the suspension forgotten.
    if current.status is Status.SUSPENDED:
        raise Problem(
            "suspended",
            f"{change.address} is suspended and cannot be withdrawn; ask the board to lift that",
            "address",
        )
    return DeleteRegistration(change.address, change.holder_id)


_RULES: Final[dict[type[Change], Callable[[Any, View, Moment], Effect]]] = {
    CreateHolder: _create_holder,
    UpdateHolder: _update_holder,
    WithdrawHolder: _withdraw_holder,
    Register: _register,
    Update: _update,
    Withdraw: _withdraw,
    Admit: _admit,
    SetStatus: _set_status,
    ReplaceKey: _replace_key,
}


def _own_account(change: KeyedChange, view: View) -> Account:
    """The account of the holder, whose key the change has to carry."""
    account = view.account(change.holder_id)
    if account is None:
        raise Problem("not_found", "no such holder; create it first", "holder_id")
    if not _has_key(change, account):
        raise Problem("not_yours", "the management key is not this holder's", "management_key")
    return account


def _own_holder(change: KeyedChange, view: View) -> tuple[int, Holder]:
    _own_account(change, view)
    current = view.holder(change.holder_id)
    if current is None:
        raise AssertionError("an account without a holder")
    _check_version(change, current[0])
    return current


def _own_registration(change: RegistrationChange, view: View) -> tuple[int, Registration]:
    current = view.registration(change.address)
    if current is None:
        raise Problem("not_found", f"{change.address} is not registered", "address")
    _own_account(change, view)
    if current[1].holder_id != change.holder_id:
        raise Problem("not_yours", f"{change.address} is registered by another holder", "holder_id")
    _check_version(change, current[0])
    return current


def _has_key(change: KeyedChange, account: Account) -> bool:
    return hmac.compare_digest(_key_hash(change), account.management_key_hash)


def _key_hash(change: KeyedChange) -> bytes:
    return sha256(change.management_key).digest()


def _check_version(change: Change, version: int) -> None:
    if change.expected_version not in (0, version):
        state = f"is at version {version}" if version else "does not exist"
        raise Problem(
            "version",
            f"the record {state}, not at {change.expected_version}; read it again, then decide",
            "expected_version",
        )


def _same_names(change: NameChange, registration: Registration) -> bool:
    return (change.host, change.domain) == (registration.host, registration.domain)


def _same_contact(change: ContactChange, view: View) -> bool:
    held = {_value(contact) for contact in view.contact(change.holder_id)}
    return held == set(change.contact)


def _value(contact: Contact) -> ContactValue:
    return ContactValue(ContactField(contact.opening.field), contact.opening.value, contact.public)


def _put_holder(
    change: HolderChange,
    values: Iterable[ContactValue],
    status: Status,
    created_ms: int,
    moment: Moment,
) -> PutHolder:
    """With fresh salts: what opened the contact so far opens nothing from now on (P6)."""
    commitments: list[Commitment] = []
    contact: list[Contact] = []
    for value in sorted(values, key=lambda value: value.field):
        commitment, opening = commit(value, moment.new_salt())
        commitments.append(commitment)
        contact.append(Contact(opening, value.public))
    holder = Holder(status, created_ms, tuple(commitments))
    return PutHolder(change.holder_id, holder, tuple(contact), _key_hash(change))
