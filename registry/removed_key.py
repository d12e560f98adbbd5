"""Removed keys: the keys of nodes that the primary's operator lets follow no more."""

from __future__ import annotations

from dataclasses import dataclass

from registry.entry import state_key
from registry.kinds import Kind
from registry.messages import parse
from registry.wire.v1 import log_pb2


@dataclass(frozen=True, slots=True)
class RemovedKey:
    """The payload of a removed key's entry: when it was removed, in milliseconds since 1970."""

    removed_ms: int

    def encode(self) -> bytes:
        """The payload bytes."""
        return log_pb2.RemovedKey(removed_ms=self.removed_ms).SerializeToString()

    @classmethod
    def decode(cls, data: bytes) -> RemovedKey:
        """The removal in payload bytes; MalformedError if they hold none."""
        return cls(parse(log_pb2.RemovedKey, data).removed_ms)


def removed_state_key(key: bytes) -> bytes:
    """Where the state has a removed key, by the SHA-256 of its SubjectPublicKeyInfo."""
    return state_key(Kind.REMOVED_KEY, key)
