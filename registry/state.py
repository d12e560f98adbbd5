"""The state entry's payload: what the log adds up to at the end of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from registry.errors import MalformedError
from registry.limits import HASH_BYTES
from registry.messages import parse
from registry.wire.v1 import log_pb2

_SERIALS: Final = 1 << 32
_HALF: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class State:
    """The number of live keys, the root of the state tree over them, and the zones' serial.

    MalformedError if the root is not 32 bytes or the serial is not from 1 to 2**32 - 1.
    """

    live_keys: int
    state_root: bytes
    zone_serial: int

    def __post_init__(self) -> None:
        if len(self.state_root) != HASH_BYTES:
            raise MalformedError(f"a state root has {HASH_BYTES} bytes, not {len(self.state_root)}")
        if not 0 < self.zone_serial < _SERIALS:
            raise MalformedError(f"{self.zone_serial} is no zone serial")

    def encode(self) -> bytes:
        """The payload bytes."""
        return log_pb2.State(
            live_keys=self.live_keys, state_root=self.state_root, zone_serial=self.zone_serial
        ).SerializeToString()

    @classmethod
    def decode(cls, data: bytes) -> State:
        """The state in payload bytes; MalformedError if they hold none."""
        message = parse(log_pb2.State, data)
        return cls(message.live_keys, message.state_root, message.zone_serial)


def next_serial(serial: int) -> int:
    """The serial after `serial` (RFC 1982, section 3.1), never 0: that stands for no serial yet."""
    return (serial + 1) % _SERIALS or 1


def is_later(serial: int, than: int) -> bool:
    """Whether `serial` comes after `than` (RFC 1982, section 3.2); every one comes after 0."""
    return than == 0 or 0 < (serial - than) % _SERIALS < _HALF
