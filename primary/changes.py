"""What can be asked of the registry, checked when it is made.

Six changes come from people, over the wire; `RegistrarChange`, `Admit` and `ReplaceKey` are the
primary's own, made once what they rest on was shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from registry.address import Address
from registry.contact import ContactValue
from registry.errors import Problem
from registry.kinds import ContactField, Status
from registry.limits import HOLDER_ID_BYTES
from registry.names import is_within, parse_domain, parse_host

# As long as an Ed25519 seed: nobody guesses it, so the registry needs no slow hash of it.
MANAGEMENT_KEY_BYTES: Final = 32
# From a UUID's bytes to a SHA-512.
MIN_IDEMPOTENCY_KEY_BYTES: Final = 16
MAX_IDEMPOTENCY_KEY_BYTES: Final = 64

_VERSION_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Change:
    """What every change carries.

    `idempotency_key`: the same key with the same change gives the same receipt again; empty:
    none. `expected_version`: the log index of the record that the change is based on; 0: any.

    Problem "holder", "idempotency_key" or "version": that part is malformed.
    """

    holder_id: bytes

    idempotency_key: bytes = field(default=b"", kw_only=True)
    expected_version: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        if len(self.holder_id) != HOLDER_ID_BYTES:
            raise Problem(
                "holder", f"a holder's identifier has {HOLDER_ID_BYTES} bytes", "holder_id"
            )
        if self.idempotency_key:
            _check_idempotency_key(self.idempotency_key)
        if self.expected_version < 0:
            raise Problem("version", "a version is the index of an entry", "expected_version")

    def digest(self) -> bytes:
        """The same for the same change only. The management key in it keeps it unguessable."""
        return sha256(
            b"%b\n%b%b%b%b"
            % (
                type(self).__name__.encode(),
                self.holder_id,
                self._secret(),
                self.expected_version.to_bytes(_VERSION_BYTES),
                self._content(),
            )
        ).digest()

    def _secret(self) -> bytes:
        """What only who may ask for it knows."""
        return b""

    def _content(self) -> bytes:
        """What the change says beyond that, unambiguously."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class KeyedChange(Change):
    """A change that the holder's management key allows. Problem "management_key": malformed."""

    management_key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        Change.__post_init__(self)
        if len(self.management_key) != MANAGEMENT_KEY_BYTES:
            raise Problem(
                "management_key",
                f"a management key has {MANAGEMENT_KEY_BYTES} random bytes",
                "management_key",
            )

    def _secret(self) -> bytes:
        return self.management_key


@dataclass(frozen=True, slots=True)
class HolderChange(KeyedChange):
    """A change of the holder itself."""


@dataclass(frozen=True, slots=True)
class ContactChange(HolderChange):
    """A holder's whole contact. Problem "contact": a field is missing, given twice, or not good.

    This binds who asks today. What the log holds already was asked under the rules of its time.
    """

    contact: tuple[ContactValue, ...] = field(repr=False)

    def __post_init__(self) -> None:
        KeyedChange.__post_init__(self)
        for value in self.contact:
            value.check_dialled()
        fields = [value.field for value in self.contact]
        for contact_field in fields:
            if fields.count(contact_field) > 1:
                raise Problem("contact", "give each field once", contact_field.name.lower())
        missing = [each.name.lower() for each in ContactField if each not in fields]
        if missing:
            every = ", ".join(each.name.lower() for each in ContactField)
            raise Problem(
                "contact",
                f"{', '.join(missing)} missing; give each of {every}, public or private",
                "contact",
            )

    def _content(self) -> bytes:
        # A value is one line.
        lines = [f"{value.field:d} {value.public:d} {value.value}" for value in self.contact]
        return "\n".join(lines).encode()


class CreateHolder(ContactChange):
    """Makes a holder whose management key this is."""

    __slots__ = ()


class UpdateHolder(ContactChange):
    """Gives a holder a new contact; the one so far is erased."""

    __slots__ = ()


class WithdrawHolder(HolderChange):
    """Ends a holder that has no registrations, and erases its contact."""

    __slots__ = ()

    def _content(self) -> bytes:
        return b""


class ReplaceKey(HolderChange):
    """Gives a holder this management key, for it has shown that it is the holder."""

    __slots__ = ()

    def _content(self) -> bytes:
        return b""


@dataclass(frozen=True, slots=True)
class RegistrationChange(KeyedChange):
    """A change of one mail server of the holder."""

    address: Address

    def _content(self) -> bytes:
        return self.address.packed


@dataclass(frozen=True, slots=True)
class NameChange(RegistrationChange):
    """The names of one mail server; what a person writes becomes canonical.

    Problem "host" or "domain": no such name, or the host does not lie within the domain.
    """

    host: str
    domain: str

    def __post_init__(self) -> None:
        KeyedChange.__post_init__(self)
        host, domain = parse_host(self.host, "host"), parse_domain(self.domain, "domain")
        if not is_within(host, domain):
            raise Problem(
                "domain", f"{host} is not within {domain}; give the host's own domain", "domain"
            )
        if (host, domain) != (self.host, self.domain):
            object.__setattr__(self, "host", host)
            object.__setattr__(self, "domain", domain)

    def _content(self) -> bytes:
        # Names hold no space, so the address is what follows the second one.
        return f"{self.host} {self.domain} ".encode() + self.address.packed


class Register(NameChange):
    """Registers a mail server that nobody has registered."""

    __slots__ = ()


class Update(NameChange):
    """Gives a registered mail server other names."""

    __slots__ = ()


class Withdraw(RegistrationChange):
    """Ends a registration."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Admit(NameChange):
    """Registers a mail server that was shown to be the holder's, whoever had it before.

    `replaces` is the holder that had it, itself included; empty if nobody had.
    """

    replaces: bytes = field(default=b"", kw_only=True)

    def _content(self) -> bytes:
        return bytes([len(self.replaces)]) + self.replaces + NameChange._content(self)


@dataclass(frozen=True, slots=True)
class RegistrarChange(Change):
    """A change of a registration of the holder that the primary makes by itself."""

    address: Address

    def _content(self) -> bytes:
        return self.address.packed


@dataclass(frozen=True, slots=True)
class SetStatus(RegistrarChange):
    """Gives a registration another status, and says why."""

    status: Status
    reason: str = ""

    def _content(self) -> bytes:
        return b"%d %b %b" % (self.status, self.reason.encode(), self.address.packed)


def _check_idempotency_key(key: bytes) -> None:
    if not MIN_IDEMPOTENCY_KEY_BYTES <= len(key) <= MAX_IDEMPOTENCY_KEY_BYTES:
        raise Problem(
            "idempotency_key",
            f"an idempotency key has {MIN_IDEMPOTENCY_KEY_BYTES} to "
            f"{MAX_IDEMPOTENCY_KEY_BYTES} random bytes, or none",
            "idempotency_key",
        )
