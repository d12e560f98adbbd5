"""Entries: one change to one key each, the leaves of the log.

An entry is encoded once, by the primary; those bytes are hashed, stored and streamed. Encoding
what was decoded may give other bytes, so keep the bytes beside the entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from registry.address import IPV4_BYTES, IPV6_BYTES
from registry.errors import LimitError, MalformedError
from registry.kinds import Kind, Operation
from registry.limits import (
    DECISION_ID_BYTES,
    HASH_BYTES,
    HOLDER_ID_BYTES,
    MAX_ENTRY_BYTES,
    ROOT_KEY_BYTES,
)
from registry.messages import by_number, known, parse
from registry.wire.v1 import log_pb2

# The kind leads the state key as one byte.
MAX_KIND: Final = 255
# As long as a DNS name (RFC 1035, section 2.3.4), the longest thing a key may come to name.
MAX_KEY_BYTES: Final = 255

_OPERATIONS: Final = by_number(Operation)
_KEY_LENGTHS: Final = {
    int(Kind.HOLDER): (HOLDER_ID_BYTES,),
    int(Kind.REGISTRATION): (IPV4_BYTES, IPV6_BYTES),
    int(Kind.ROOT): (ROOT_KEY_BYTES,),
    int(Kind.DECISION): (DECISION_ID_BYTES,),
    int(Kind.STATE): (0,),
    int(Kind.REMOVED_KEY): (HASH_BYTES,),
}
_OTHER_KEY_LENGTHS: Final = range(1, MAX_KEY_BYTES + 1)


@dataclass(frozen=True, slots=True)
class Entry:
    """One change to one key.

    `kind` is a plain number, for a log may hold kinds that this software does not know; a
    follower must stop at such a one if it is `critical`. `time_ms` counts from
    1970-01-01T00:00:00Z, by the primary's clock. `payload` is the key's whole public state
    after the change, empty for a delete.

    MalformedError if the parts do not fit.
    """

    kind: int
    key: bytes
    operation: Operation
    critical: bool
    time_ms: int
    payload: bytes

    def __post_init__(self) -> None:
        if not 0 < self.kind <= MAX_KIND:
            raise MalformedError(f"{self.kind} is no kind of entry")
        if len(self.key) not in _KEY_LENGTHS.get(self.kind, _OTHER_KEY_LENGTHS):
            raise MalformedError(f"kind {self.kind} has no key of {len(self.key)} bytes")
        if self.operation == Operation.DELETE and self.payload:
            raise MalformedError("a delete with a payload")

    @property
    def state_key(self) -> bytes:
        """As `state_key`, of this entry."""
        return state_key(self.kind, self.key)

    def encode(self) -> bytes:
        """The leaf bytes; LimitError if there are more than MAX_ENTRY_BYTES."""
        data = log_pb2.Entry(
            kind=log_pb2.Kind.ValueType(self.kind),
            key=self.key,
            operation=log_pb2.Operation.ValueType(self.operation),
            critical=self.critical,
            time_ms=self.time_ms,
            payload=self.payload,
        ).SerializeToString()
        _check_length(data)
        return data

    @classmethod
    def decode(cls, data: bytes) -> Entry:
        """The entry in leaf bytes.

        LimitError: more than MAX_ENTRY_BYTES; MalformedError: no entry.
        """
        _check_length(data)
        message = parse(log_pb2.Entry, data)
        return cls(
            message.kind,
            message.key,
            known(_OPERATIONS, message.operation),
            message.critical,
            message.time_ms,
            message.payload,
        )


def state_key(kind: int, key: bytes) -> bytes:
    """What an entry of this kind and key changes, unique among all kinds."""
    return bytes([kind]) + key


def _check_length(data: bytes) -> None:
    if len(data) > MAX_ENTRY_BYTES:
        raise LimitError(f"an entry of {len(data)} bytes; {MAX_ENTRY_BYTES} are allowed")
