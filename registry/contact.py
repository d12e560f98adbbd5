"""Contact details: what a holder gives, and the salted commitments that the log holds instead.

A commitment shows nothing without its opening. Public openings travel beside the log and can
be erased; private ones never leave the primary.
"""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from registry.errors import MalformedError, Problem, ProofError
from registry.kinds import ContactField
from registry.limits import HASH_BYTES, SALT_BYTES
from registry.messages import by_number, known_or_number
from registry.names import parse_domain
from registry.wire.v1 import log_pb2

# Four lines of 255 characters, as long as RFC 5733 allows each line of a postal address.
MAX_CONTACT_BYTES: Final = 1024
# RFC 5321, section 4.5.3.1: a path of 256 octets less its brackets, a local part of 64.
MAX_EMAIL_BYTES: Final = 254
MAX_LOCAL_PART_BYTES: Final = 64
# ITU-T E.164: 15 digits at most; four times that with what people write between them.
MAX_TELEPHONE_CHARACTERS: Final = 60
# Of the country; a number without it is not international.
_TELEPHONE_CHARACTERS: Final = frozenset("0123456789 .()-/")

# It is hashed as one byte.
MAX_FIELD: Final = 255

_FIELDS: Final = by_number(ContactField)
# Control, format, surrogate, private-use and unassigned characters, line and paragraph ends:
# what could forge a line of WHOIS, or turn one around on a terminal.
_UNPRINTABLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class ContactValue:
    """One contact field as a person gave it, and whether anyone may read it.

    Problem "contact", naming the field: empty, too long, surrounded by space, unprintable
    characters, or no e-mail address or international telephone number where one belongs.
    """

    field: ContactField
    value: str
    public: bool

    def __post_init__(self) -> None:
        value = self.value
        if not value or value != value.strip():
            raise self._problem("must not be empty, nor begin or end with space")
        # Cut short before its characters are looked at: anyone may send megabytes of them.
        shown = value[: MAX_CONTACT_BYTES + 1]
        if any(unicodedata.category(character) in _UNPRINTABLE for character in shown):
            raise self._problem("must be one line of printable characters")
        if len(shown.encode()) > MAX_CONTACT_BYTES:
            raise self._problem(f"must be at most {MAX_CONTACT_BYTES} octets long")
        check = _CHECKS.get(self.field)
        if check is not None:
            check(self)

    def check_dialled(self) -> None:
        """Problem "contact" for a telephone number that nobody reaches by its digits: +41 (0)44.

        Asked of new values alone: there were others before it was.
        """
        import phonenumbers  # noqa: PLC0415 - as the library for e-mail

        if self.field is not ContactField.TELEPHONE:
            return
        number = phonenumbers.parse(self.value)
        whole = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        if whole != "+" + "".join(filter(str.isdigit, self.value)):
            raise self._problem(
                f"has digits that are not dialled from abroad; write it like {whole}, without (0)"
            )

    def _problem(self, message: str) -> Problem:
        return Problem("contact", message, self.field.name.lower())

    def _check_email(self) -> None:
        # Only who takes contact needs it, and not those that serve what was taken.
        from email_validator import EmailNotValidError, validate_email  # noqa: PLC0415

        local, _, domain = self.value.rpartition("@")
        if len(self.value.encode()) > MAX_EMAIL_BYTES or len(local.encode()) > MAX_LOCAL_PART_BYTES:
            raise self._problem(
                f"must be at most {MAX_EMAIL_BYTES} octets long, {MAX_LOCAL_PART_BYTES} before @"
            )
        try:
            parse_domain(domain, "email")
            validate_email(self.value, check_deliverability=False)
        except Problem as problem:
            raise self._problem(f"has a wrong domain: {problem.message}") from None
        except EmailNotValidError as error:
            raise self._problem(
                f"is not an e-mail address: {error} Write it like postmaster@example.org"
            ) from None

    def _check_telephone(self) -> None:
        if not self._is_international():
            raise self._problem(
                "is not an international telephone number; write it like +41 44 668 18 00"
            )

    def _is_international(self) -> bool:
        """Whether there are so many digits as its country's numbers have (E.164)."""
        import phonenumbers  # noqa: PLC0415 - as the library for e-mail

        plus, rest = self.value[0], self.value[1:]
        if plus != "+" or len(rest) > MAX_TELEPHONE_CHARACTERS:
            return False
        if not _TELEPHONE_CHARACTERS.issuperset(rest):
            return False
        try:
            return phonenumbers.is_possible_number(phonenumbers.parse(self.value))
        except phonenumbers.NumberParseException:
            return False


_CHECKS: Final[dict[ContactField, Callable[[ContactValue], None]]] = {
    ContactField.EMAIL: ContactValue._check_email,
    ContactField.TELEPHONE: ContactValue._check_telephone,
}


@dataclass(frozen=True, slots=True)
class Commitment:
    """What the log holds of a contact field.

    A field that this software does not know is a plain number. MalformedError if it is none of a
    byte, or the digest not 32 bytes.
    """

    field: ContactField | int
    digest: bytes

    def __post_init__(self) -> None:
        if len(self.digest) != HASH_BYTES:
            raise MalformedError(f"a commitment has {HASH_BYTES} bytes, not {len(self.digest)}")
        if not 0 < self.field <= MAX_FIELD:
            raise MalformedError(f"{self.field} is no contact field")

    def to_message(self) -> log_pb2.Commitment:
        """The wire message."""
        return log_pb2.Commitment(
            field=log_pb2.ContactField.ValueType(self.field), digest=self.digest
        )

    @classmethod
    def from_message(cls, message: log_pb2.Commitment) -> Commitment:
        """The commitment in a wire message; MalformedError if it is none."""
        return cls(known_or_number(_FIELDS, message.field), message.digest)


@dataclass(frozen=True, slots=True)
class Opening:
    """What shows the value behind a commitment.

    A field that this software does not know is a plain number. MalformedError if the salt is not
    32 bytes, or the value empty or too long.
    """

    field: ContactField | int
    salt: bytes
    value: str

    def __post_init__(self) -> None:
        if len(self.salt) != SALT_BYTES:
            raise MalformedError(f"a salt has {SALT_BYTES} bytes, not {len(self.salt)}")
        if not 0 < len(self.value.encode()) <= MAX_CONTACT_BYTES:
            raise MalformedError(f"an opened value has 1 to {MAX_CONTACT_BYTES} octets")

    def to_message(self) -> log_pb2.Opening:
        """The wire message."""
        return log_pb2.Opening(
            field=log_pb2.ContactField.ValueType(self.field), salt=self.salt, value=self.value
        )

    @classmethod
    def from_message(cls, message: log_pb2.Opening) -> Opening:
        """The opening in a wire message; MalformedError if it is none."""
        return cls(known_or_number(_FIELDS, message.field), message.salt, message.value)


def commit(value: ContactValue, salt: bytes) -> tuple[Commitment, Opening]:
    """The commitment to a value under a fresh random `salt`, and what opens it."""
    opening = Opening(value.field, salt, value.value)
    return Commitment(value.field, _digest(opening)), opening


def check_opening(commitment: Commitment, opening: Opening) -> None:
    """ProofError unless `opening` opens `commitment`."""
    if commitment.field != opening.field:
        raise ProofError(f"an opening of {opening.field!r} beside {commitment.field!r}")
    if not hmac.compare_digest(commitment.digest, _digest(opening)):
        raise ProofError(f"a false opening of {opening.field!r}")


def _digest(opening: Opening) -> bytes:
    # The field is hashed too, so that one field's opening never opens another's commitment.
    message = bytes([opening.field]) + opening.value.encode()
    return hmac.digest(opening.salt, message, "sha256")
