"""An application: somebody asks for something that has to be shown first. Never in the log."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from primary.registering.judging import Subject
from registry.address import Address
from registry.contact import ContactValue
from registry.kinds import ContactField
from registry.limits import HOLDER_ID_BYTES

APPLICATION_ID_BYTES: Final = 16


class Purpose(IntEnum):
    """What is applied for. The numbers stand in the database."""

    # A mail server, of a new holder or of one that there is: new, other names, or taken over.
    REGISTER = 1
    # Another contact, with an e-mail address that is not confirmed.
    CONTACT = 2
    # Another management key, in the place of one that is lost.
    RECOVER = 3


@dataclass(frozen=True, slots=True)
class Application:
    """What was asked and what was shown so far.

    `address`, `host` and `domain` are of the mail server; of a recovery, `domain` is one that the
    holder has registered. `contact` is that of a holder to be, or its new one; empty otherwise.
    `email` is to be confirmed; empty if nothing is; `email_token_hash` is that of the token in the
    letter, empty before one is sent. Times are milliseconds since 1970, 0 for never.
    """

    application_id: bytes
    purpose: Purpose
    holder_id: bytes
    key_hash: bytes
    address: Address | None
    host: str
    domain: str
    contact: tuple[ContactValue, ...] = field(repr=False)
    email: str = field(repr=False)
    address_token: str = field(repr=False)
    email_token_hash: bytes = field(repr=False)
    created_ms: int
    expires_ms: int
    email_confirmed_ms: int = 0
    address_proved_ms: int = 0

    def __post_init__(self) -> None:
        if len(self.application_id) != APPLICATION_ID_BYTES:
            raise ValueError(f"an application's identifier has {APPLICATION_ID_BYTES} bytes")
        if len(self.holder_id) != HOLDER_ID_BYTES:
            raise ValueError(f"a holder's identifier has {HOLDER_ID_BYTES} bytes")

    @property
    def subject(self) -> Subject:
        """The mail server that a registration is applied for."""
        if self.address is None:
            raise AssertionError("an application for no mail server")
        return Subject(self.holder_id, self.address, self.host, self.domain)


def encode_contact(contact: tuple[ContactValue, ...]) -> str:
    """The contact as text for the database."""
    return json.dumps(
        [[int(value.field), value.value, value.public] for value in contact], ensure_ascii=False
    )


def decode_contact(text: str) -> tuple[ContactValue, ...]:
    """The contact in the database."""
    return tuple(
        ContactValue(ContactField(number), value, public)
        for number, value, public in json.loads(text or "[]")
    )


def email_of(contact: tuple[ContactValue, ...]) -> str:
    """The e-mail address in a contact; empty if there is none."""
    return next((value.value for value in contact if value.field is ContactField.EMAIL), "")
