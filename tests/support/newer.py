"""What a newer version writes into a log: signed all the same, and unknown to this one."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from registry import decision
from registry.address import Address
from registry.contact import Commitment, ContactValue, Opening, commit
from registry.decision import Admit
from registry.holder import Holder
from registry.kinds import ContactField, Kind, Status
from registry.limits import SALT_BYTES
from registry.registration import Registration
from registry.wire.v1 import log_pb2
from tests.support.boards import ALICE, a_decision, signed
from tests.support.log_builder import HOLDER_ID, START_MS, LogBuilder

NEW_KIND: Final = 200
NEW_STATUS: Final = 9
NEW_CONTACT_FIELD: Final = 77
# Of the holder who shows all of its contact, that in a new field too.
NEW_HOLDER: Final = bytes([7]) * 16
KNOWN_CONTACT: Final = MappingProxyType(
    {
        ContactField.NAME: "New Networks",
        ContactField.POSTAL_ADDRESS: "7 New Street, 8000 Zürich",
        ContactField.EMAIL: "postmaster@example.net",
        ContactField.TELEPHONE: "+41 44 668 18 01",
    }
)
NEW_CONTACT: Final = "what only newer software has a word for"
# A field of number 100, a varint.
NEW_FIELD: Final = b"\xa0\x06\x2a"
# Of a registration with a field that nobody here knows.
EXTENDED: Final = "192.0.2.77"
# Whose status nobody here knows.
STRANGE: Final = "192.0.2.99"


def put_ignored(log: LogBuilder) -> None:
    """What need not be understood: entries of new kinds that are put, changed and deleted, and
    fields, of a message and of a contact, that are new in kinds which are known."""
    log.put(NEW_KIND, b"kept", b"first")
    log.put(NEW_KIND, b"kept", b"\xff changed")
    log.delete(log.put(NEW_KIND, b"gone", b""))
    log.put(Kind.POLICY, b"policy", b"x" * 5000)
    log.put(
        Kind.REGISTRATION,
        Address.parse(EXTENDED).packed,
        registration(holder_id=NEW_HOLDER).encode() + NEW_FIELD,
    )
    opened = [
        commit(ContactValue(field, value, True), bytes([field]) * SALT_BYTES)
        for field, value in KNOWN_CONTACT.items()
    ]
    opened.append(_new_contact())
    holder = Holder(Status.ACTIVE, START_MS, tuple(commitment for commitment, _ in opened))
    openings = tuple(opening for _, opening in opened)
    log.put(Kind.HOLDER, NEW_HOLDER, holder.encode() + NEW_FIELD, openings=openings)


def _new_contact() -> tuple[Commitment, Opening]:
    """As `registry.contact` has it of the fields that it knows."""
    salt = bytes([NEW_CONTACT_FIELD]) * SALT_BYTES
    digest = hmac.digest(salt, bytes([NEW_CONTACT_FIELD]) + NEW_CONTACT.encode(), "sha256")
    return Commitment(NEW_CONTACT_FIELD, digest), Opening(NEW_CONTACT_FIELD, salt, NEW_CONTACT)


def put_more_ignored(log: LogBuilder) -> None:
    """The same again, later."""
    log.put(NEW_KIND, b"kept", b"changed again")
    log.put(NEW_KIND + 1, b"later", b"")
    log.delete(bytes([Kind.POLICY]) + b"policy")


def registration(host: str = "mail.example.org", *, holder_id: bytes = HOLDER_ID) -> Registration:
    return Registration(holder_id, host, "example.org", Status.ACTIVE, START_MS)


def critical_kind(log: LogBuilder) -> None:
    """An entry of a new kind that has to be understood."""
    log.put(NEW_KIND, b"critical", b"", critical=True)


def unknown_status(log: LogBuilder) -> None:
    """A registration that stands as nobody here knows: is it listed or not?"""
    message = registration().to_message()
    message.status = log_pb2.Status.ValueType(NEW_STATUS)
    log.put(Kind.REGISTRATION, Address.parse(STRANGE).packed, message.SerializeToString())


def unknown_act(log: LogBuilder) -> None:
    """The board decides something new."""
    text = a_decision(Admit("m")).text().replace("\nadmit m\n", "\ndissolve m\n")
    log.put(Kind.DECISION, bytes(16), signed(text, decision.NAMESPACE, (ALICE,)))


Newer = Callable[[LogBuilder], None]

# Each with what is said of it.
STOPPING: Final[Mapping[Newer, str]] = MappingProxyType(
    {
        critical_kind: f"a critical entry of kind {NEW_KIND}",
        unknown_status: f"a registration of status {NEW_STATUS}",
        unknown_act: "a decision that decides nothing that this software knows",
    }
)
