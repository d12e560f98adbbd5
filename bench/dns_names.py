"""The names that every name server is measured with: made up, the same for one seed."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ORIGIN: Final = "smtpnic.org"
SEED: Final = 2003
ADDRESS_BYTES: Final = 4
# More of them than queries are not needed.
MAX_UNLISTED: Final = 1_000_000
# IPv4 addresses as numbers. What changes during a measurement is never asked for.
_ASKED_FOR: Final = range(0x01000000, 0xDF000000)
CHANGING: Final = range(0xF0000000, 0xF0010000)
# Hosts are as long as each other, so that what is said of a name has one size.
_HOST_TAIL: Final = ".mail.example.org"
# With this host a TXT answer to a name of 27 bytes has 177: an A with a P-256 signature.
_LONG_HOST_BYTES: Final = 71


@dataclass(frozen=True, slots=True)
class Names:
    """IPv4 addresses as numbers: those registered, in order, and some of those that are not."""

    listed: Sequence[int]
    unlisted: Sequence[int]


def make_names(count: int, seed: int = SEED) -> Names:
    """`count` registered addresses, and others."""
    unlisted = min(count, MAX_UNLISTED)
    chosen = random.Random(seed).sample(_ASKED_FOR, count + unlisted)
    return Names(sorted(chosen[:count]), chosen[count:])


def dashed(number: int) -> str:
    """The label of an address."""
    return f"{number >> 24}-{number >> 16 & 255}-{number >> 8 & 255}-{number & 255}"


def dotted(number: int) -> str:
    """The address as it is usually written."""
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def packed(number: int) -> bytes:
    """The address in the 4 bytes of an A record."""
    return number.to_bytes(ADDRESS_BYTES)


def host(number: int, *, long: bool) -> str:
    """The host name of an address; `long`: so long that its TXT is of a signature's size."""
    name = f"mx-{number:08x}"
    padding = _LONG_HOST_BYTES - len(name) - len(_HOST_TAIL) - 1 if long else 0
    return f"{name}.{'x' * padding}{_HOST_TAIL}" if padding else f"{name}{_HOST_TAIL}"


def write_names(path: Path, names: Sequence[int]) -> None:
    """Writes registered addresses to a file, 4 bytes each."""
    numbers = array("I", names)
    numbers.byteswap()
    path.write_bytes(numbers.tobytes())


def read_names(path: Path) -> Iterator[bytes]:
    """The packed addresses of such a file."""
    data = path.read_bytes()
    for at in range(0, len(data), ADDRESS_BYTES):
        yield data[at : at + ADDRESS_BYTES]
