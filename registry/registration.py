"""Registrations: one mail server, by its address."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Final, NamedTuple

from registry.errors import MalformedError, Problem, UnknownValueError
from registry.kinds import Status
from registry.limits import HOLDER_ID_BYTES
from registry.messages import by_number, known, parse
from registry.names import is_canonical, is_within
from registry.wire.v1 import log_pb2

# A TXT string (RFC 1035, section 3.3.14) holds 255 octets: a reason fits one.
MAX_REASON_BYTES: Final = 255

_STATUSES: Final = by_number(Status)


@dataclass(frozen=True, slots=True)
class Registration:
    """The whole public state of a registered mail server, the payload of its entry.

    `host` is the PTR name of the address, `domain` the domain it belongs to, both canonical;
    `registered_ms` counts from 1970-01-01T00:00:00Z; `reason` says why the status is what it
    is, empty when there is nothing to say. `verified_ms` is when the proofs last held: as it was
    admitted, became active, or came back. Looks that only find the same are in no log. 0: never,
    or before entries told.

    Problem "holder", "host", "domain" or "reason": that part does not fit.
    """

    holder_id: bytes
    host: str
    domain: str
    status: Status
    registered_ms: int
    reason: str = ""
    verified_ms: int = 0

    def __post_init__(self) -> None:
        if len(self.holder_id) != HOLDER_ID_BYTES:
            raise Problem("holder", f"an identifier has {HOLDER_ID_BYTES} bytes", "holder_id")
        if not is_canonical(self.host):
            raise Problem("host", "not a canonical host name", "host")
        # The labels of the domain are some of the host's, so they have been checked.
        if "." not in self.domain or not is_within(self.host, self.domain):
            raise Problem(
                "domain",
                f"{self.host} is not within {self.domain!r}; give the domain the host belongs to",
                "domain",
            )
        if self.reason:
            check_reason(self.reason)

    def encode(self) -> bytes:
        """The payload bytes."""
        return self.to_message().SerializeToString()

    def to_message(self) -> log_pb2.Registration:
        """The wire message."""
        return log_pb2.Registration(
            holder_id=self.holder_id,
            host=self.host,
            domain=self.domain,
            status=log_pb2.Status.ValueType(self.status),
            registered_ms=self.registered_ms,
            reason=self.reason,
            verified_ms=self.verified_ms,
        )

    @classmethod
    def decode(cls, data: bytes) -> Registration:
        """The registration in payload bytes; MalformedError if they hold none.

        UnknownValueError: one of a status that this software does not know.
        """
        return cls.from_message(_parse(data))

    @classmethod
    def from_message(cls, message: log_pb2.Registration) -> Registration:
        """The registration in a wire message; MalformedError if it is none."""
        try:
            return cls(
                message.holder_id,
                message.host,
                message.domain,
                known(_STATUSES, message.status),
                message.registered_ms,
                message.reason,
                message.verified_ms,
            )
        except Problem as problem:
            raise MalformedError(f"not a registration: {problem}") from None


class Outline(NamedTuple):
    """What a registration is found and counted by."""

    holder_id: bytes
    host: str
    domain: str
    status: int
    registered_ms: int


def outline(payload: bytes) -> Outline:
    """What payload bytes are found by, for whoever indexes a million of them.

    Nothing but the status is checked: as with `registry.batch.outline_record`. MalformedError if
    they hold no registration; UnknownValueError: with a status that this software does not know.
    """
    message = _parse(payload)
    return Outline(
        message.holder_id, message.host, message.domain, message.status, message.registered_ms
    )


def outline_registration(payload: bytes) -> tuple[int, int, str]:
    """The status, `registered_ms` and host in payload bytes; as `outline`."""
    message = _parse(payload)
    return message.status, message.registered_ms, message.host


def _parse(payload: bytes) -> log_pb2.Registration:
    message = parse(log_pb2.Registration, payload)
    # Whoever does not know what it means cannot say whether the address is listed.
    if message.status not in _STATUSES:
        raise UnknownValueError(f"a registration of status {message.status}")
    return message


def check_reason(reason: str) -> None:
    """Problem "reason" unless it is one line of printable characters that fits a TXT string."""
    if any(unicodedata.category(character)[0] == "C" for character in reason):
        raise Problem("reason", "must be one line of printable characters", "reason")
    if len(reason.encode()) > MAX_REASON_BYTES:
        raise Problem("reason", f"must be at most {MAX_REASON_BYTES} octets long", "reason")
