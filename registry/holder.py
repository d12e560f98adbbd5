"""Holders: who registers. The log knows them by an identifier and by commitments."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from registry.contact import Commitment
from registry.errors import MalformedError
from registry.kinds import Status
from registry.limits import HOLDER_ID_BYTES
from registry.messages import by_number, known, parse
from registry.wire.v1 import log_pb2

# What the first management key is hashed with, so that it is no hash of anything else.
_IDENTIFIER_CONTEXT: Final = b"smtpnic-holder\n"

_STATUSES: Final = by_number(Status)


def holder_id_of(management_key: bytes) -> bytes:
    """The identifier of the holder that is made with this key; it keeps it under every later key.

    It stands in TXT records for all to read: nobody without the key can become that holder.
    """
    return sha256(_IDENTIFIER_CONTEXT + management_key).digest()[:HOLDER_ID_BYTES]


@dataclass(frozen=True, slots=True)
class Holder:
    """The whole public state of a holder, the payload of its entry.

    `created_ms` counts from 1970-01-01T00:00:00Z, by the primary's clock. MalformedError if
    one contact field is committed to twice.
    """

    status: Status
    created_ms: int
    commitments: tuple[Commitment, ...]

    def __post_init__(self) -> None:
        if len({commitment.field for commitment in self.commitments}) != len(self.commitments):
            raise MalformedError("two commitments to one contact field")

    def encode(self) -> bytes:
        """The payload bytes."""
        return self.to_message().SerializeToString()

    def to_message(self) -> log_pb2.Holder:
        """The wire message."""
        return log_pb2.Holder(
            status=log_pb2.Status.ValueType(self.status),
            created_ms=self.created_ms,
            commitments=[commitment.to_message() for commitment in self.commitments],
        )

    @classmethod
    def decode(cls, data: bytes) -> Holder:
        """The holder in payload bytes; MalformedError if they hold none."""
        return cls.from_message(parse(log_pb2.Holder, data))

    @classmethod
    def from_message(cls, message: log_pb2.Holder) -> Holder:
        """The holder in a wire message; MalformedError if it is none."""
        return cls(
            known(_STATUSES, message.status),
            message.created_ms,
            tuple(Commitment.from_message(commitment) for commitment in message.commitments),
        )
