"""What is granted, and what is refused with which word."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count

import pytest

from primary.changes import Admit, Change, UpdateHolder, Withdraw, WithdrawHolder
from primary.rules import (
    Account,
    Contact,
    DeleteHolder,
    DeleteRegistration,
    Effect,
    Moment,
    Policy,
    PutHolder,
    PutRegistration,
    Unchanged,
    decide,
)
from registry.address import Address
from registry.contact import ContactValue, check_opening
from registry.errors import Problem
from registry.holder import Holder
from registry.kinds import ContactField, Status
from registry.registration import Registration
from tests.support.sequencing import (
    CONTACT,
    NAME,
    OTHER_EMAIL,
    TELEPHONE,
    Person,
    contact_with,
)

NOW_MS = 1_700_000_000_000
ME, OTHER = Person("me"), Person("other")
MINE, THEIRS, FREE = "9.9.9.9", "9.9.9.10", "9.9.9.11"
UPDATE_OLD = UpdateHolder(ME.holder_id, ME.key, CONTACT, expected_version=4)
WITHDRAW_OLD = Withdraw(ME.holder_id, ME.key, Address.parse(MINE), expected_version=6)


@dataclass
class World:
    """What is current, in dictionaries: an honest `View`."""

    accounts: dict[bytes, Account] = field(default_factory=dict)
    holders: dict[bytes, tuple[int, Holder]] = field(default_factory=dict)
    contacts: dict[bytes, tuple[Contact, ...]] = field(default_factory=dict)
    registrations: dict[bytes, tuple[int, Registration]] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    salts: Iterable[int] = field(default_factory=count)

    def account(self, holder_id: bytes) -> Account | None:
        return self.accounts.get(holder_id)

    def holder(self, holder_id: bytes) -> tuple[int, Holder] | None:
        return self.holders.get(holder_id)

    def contact(self, holder_id: bytes) -> Iterable[Contact]:
        return self.contacts.get(holder_id, ())

    def registration(self, address: Address) -> tuple[int, Registration] | None:
        return self.registrations.get(address.packed)

    def decide(self, change: Change, now_ms: int = NOW_MS) -> Effect:
        salts = iter(self.salts)
        moment = Moment(now_ms, self.policy, lambda: next(salts).to_bytes(32))
        return decide(change, self, moment)

    def hold(self, person: Person, version: int, registrations: int) -> None:
        """A holder as `CreateHolder` makes it."""
        effect = self.decide(person.create(CONTACT), NOW_MS - 1000)
        assert isinstance(effect, PutHolder)
        self.accounts[person.holder_id] = Account(effect.management_key_hash, registrations)
        self.holders[person.holder_id] = (version, effect.holder)
        self.contacts[person.holder_id] = effect.contact

    def registered(self, person: Person, address: str, version: int, status: Status) -> None:
        """A registration of a holder."""
        self.registrations[Address.parse(address).packed] = (
            version,
            Registration(person.holder_id, person.host, person.domain, status, NOW_MS - 500, "why"),
        )


@pytest.fixture
def world() -> World:
    """I have MINE at version 7, they have THEIRS at version 8, FREE is free."""
    world = World()
    world.hold(ME, 5, 1)
    world.hold(OTHER, 6, 1)
    world.registered(ME, MINE, 7, Status.SUSPENDED)
    world.registered(OTHER, THEIRS, 8, Status.ACTIVE)
    return world


def _thief(person: Person) -> Person:
    """Knows the holder's identifier, and not the key."""

    class Thief(Person):
        @property
        def holder_id(self) -> bytes:
            return person.holder_id

        @property
        def key(self) -> bytes:
            return bytes(32)

    return Thief(person.name)


def test_a_new_holder_is_committed_to_and_hashed() -> None:
    """Fresh salts open the commitments; of the key only a hash is kept."""
    effect = World().decide(ME.create(CONTACT))
    assert isinstance(effect, PutHolder)
    assert (Status.NEW, NOW_MS) == (effect.holder.status, effect.holder.created_ms)
    assert sha256(ME.key).digest() == effect.management_key_hash
    for commitment, contact in zip(effect.holder.commitments, effect.contact, strict=True):
        check_opening(commitment, contact.opening)
    assert {(value.value, value.public) for value in CONTACT} == {
        (contact.opening.value, contact.public) for contact in effect.contact
    }
    assert len(CONTACT) == len({contact.opening.salt for contact in effect.contact})


def test_an_updated_holder_keeps_its_age_and_gets_fresh_salts(world: World) -> None:
    """What opened the old contact opens nothing of the new, be the value the same."""
    _, before = world.holders[ME.holder_id]
    effect = world.decide(ME.update_contact(OTHER_EMAIL))
    assert isinstance(effect, PutHolder)
    assert (before.status, before.created_ms) == (effect.holder.status, effect.holder.created_ms)
    assert NAME.value == effect.contact[0].opening.value
    assert not {commitment.digest for commitment in effect.holder.commitments} & {
        commitment.digest for commitment in before.commitments
    }


def test_a_holder_without_registrations_can_be_withdrawn(world: World) -> None:
    """With its registrations it cannot."""
    withdraw = WithdrawHolder(ME.holder_id, ME.key)
    with pytest.raises(Problem) as caught:
        world.decide(withdraw)
    assert "in_use" == caught.value.code
    account = world.accounts[ME.holder_id]
    world.accounts[ME.holder_id] = account._replace(registrations=0)
    assert DeleteHolder(ME.holder_id) == world.decide(withdraw)


def test_a_new_registration_is_new(world: World) -> None:
    """Until the registrant has shown control of it."""
    effect = world.decide(ME.register(FREE))
    registration = Registration(ME.holder_id, ME.host, ME.domain, Status.NEW, NOW_MS)
    assert PutRegistration(Address.parse(FREE), registration, new=True) == effect


def test_an_update_changes_the_names_only(world: World) -> None:
    """A suspended registration stays so, for the same reason, and keeps its age."""
    effect = world.decide(ME.update(MINE, "mx.example.org"))
    registration = Registration(
        ME.holder_id, "mx.example.org", ME.domain, Status.SUSPENDED, NOW_MS - 500, "why"
    )
    assert PutRegistration(Address.parse(MINE), registration, new=False) == effect


def test_a_registration_can_be_withdrawn(world: World) -> None:
    """By its holder."""
    effect = world.decide(OTHER.withdraw(THEIRS))
    assert DeleteRegistration(Address.parse(THEIRS), OTHER.holder_id) == effect


@pytest.mark.parametrize(
    ("change", "version"),
    [
        (ME.create(CONTACT[::-1]), 5),
        (UpdateHolder(ME.holder_id, ME.key, CONTACT[::-1]), 5),
        (ME.register(MINE), 7),
        (ME.register(MINE, expected_version=7), 7),
        (ME.update(MINE, ME.host), 7),
    ],
)
def test_what_is_so_already_is_unchanged(world: World, change: Change, version: int) -> None:
    """The present version is the answer."""
    assert Unchanged(version) == world.decide(change)


def test_the_right_version_is_accepted(world: World) -> None:
    """A change that is based on the current record is granted."""
    effect = world.decide(ME.update(MINE, "mx.example.org", expected_version=7))
    assert isinstance(effect, PutRegistration)


@pytest.mark.parametrize(
    ("change", "code", "at"),
    [
        (ME.create(contact_with(OTHER_EMAIL)), "exists", "holder_id"),
        (_thief(ME).create(CONTACT), "exists", "holder_id"),
        (Person("nobody").update_contact(), "not_found", "holder_id"),
        (_thief(ME).update_contact(OTHER_EMAIL), "not_yours", "management_key"),
        (UPDATE_OLD, "version", "expected_version"),
        (WithdrawHolder(bytes(16), bytes(32)), "not_found", "holder_id"),
        (WithdrawHolder(ME.holder_id, bytes(32)), "not_yours", "management_key"),
        (Person("nobody").register(FREE), "not_found", "holder_id"),
        (_thief(ME).register(FREE), "not_yours", "management_key"),
        (ME.register(THEIRS), "exists", "address"),
        (ME.register(MINE, "mx.example.org"), "exists", "address"),
        (ME.register(FREE, expected_version=3), "version", "expected_version"),
        (ME.register(MINE, expected_version=3), "version", "expected_version"),
        (ME.register("192.168.1.1"), "address_special", "address"),
        (ME.register("fe80::1"), "address_special", "address"),
        (ME.update(FREE, ME.host), "not_found", "address"),
        (ME.update(THEIRS, "mx.example.org"), "not_yours", "holder_id"),
        (_thief(OTHER).update(THEIRS, "mx.example.org"), "not_yours", "management_key"),
        (ME.update(MINE, ME.host, expected_version=6), "version", "expected_version"),
        (ME.withdraw(FREE), "not_found", "address"),
        (ME.withdraw(THEIRS), "not_yours", "holder_id"),
        # Nor does a suspension end by withdrawing, and registering again.
        (ME.withdraw(MINE), "suspended", "address"),
        (_thief(OTHER).withdraw(THEIRS), "not_yours", "management_key"),
        (WITHDRAW_OLD, "version", "expected_version"),
    ],
)
def test_what_is_refused(world: World, change: Change, code: str, at: str) -> None:
    """With a code for programs, the part at fault, and a word on what to do."""
    with pytest.raises(Problem) as caught:
        world.decide(change)
    assert code == caught.value.code
    assert at == caught.value.field
    assert caught.value.message


def test_a_laboratory_registers_any_address() -> None:
    """So that tests and demonstrations need no public network."""
    world = World(policy=Policy(lab=True))
    world.hold(ME, 5, 0)
    assert isinstance(world.decide(ME.register("127.0.0.1")), PutRegistration)


def test_a_value_made_public_is_a_change(world: World) -> None:
    """Though the value is the same."""
    shown = ContactValue(ContactField.TELEPHONE, TELEPHONE.value, public=True)
    assert isinstance(world.decide(ME.update_contact(shown)), PutHolder)


def test_special_addresses_are_withdrawn_like_others(world: World) -> None:
    """A rule that was tightened never locks in what it would refuse today."""
    world.registered(ME, "10.0.0.1", 9, Status.NEW)
    withdraw = Withdraw(ME.holder_id, ME.key, Address.parse("10.0.0.1"))
    assert isinstance(world.decide(withdraw), DeleteRegistration)


def test_a_suspension_is_not_shaken_off(world: World) -> None:
    """Neither by showing again that the address is one's own, nor by another who shows it."""
    for person in (ME, OTHER):
        change = Admit(
            person.holder_id,
            person.key,
            Address.parse(MINE),
            person.host,
            person.domain,
            replaces=ME.holder_id,
        )
        with pytest.raises(Problem) as caught:
            world.decide(change)
        assert caught.value.code == "suspended"
