"""What the compiled module has to know to answer the common query without the responder."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

# What no name and no text of ours reaches; the compiled module keeps them in place.
MAX_ABSENCE_BYTES: Final = 560
MAX_TEXT_BYTES: Final = 512


class ZoneKind(IntEnum):
    """What the names of a zone mean."""

    DASHED = 0
    LISTED = 1
    UNLISTED = 2
    # Where the name servers are: left to the responder.
    SERVERS = 3


@dataclass(frozen=True, slots=True)
class FastZone:
    """One zone, in the bytes of answers."""

    kind: ZoneKind
    # Lower-case labels with their lengths, the root's closing zero included.
    origin: bytes
    # The SOA record after its owner.
    absence: bytes
    # Data of the TXT record of the zone's test entries, or of all its names.
    text: bytes

    def __post_init__(self) -> None:
        if len(self.absence) > MAX_ABSENCE_BYTES or len(self.text) > MAX_TEXT_BYTES:
            raise ValueError("a zone's SOA or text is too long")
