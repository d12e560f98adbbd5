"""What is asked: mixes of queries, each with the answer that is right, and the files of them."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.dns_names import ORIGIN, Names, dashed
from secondary.dns.codes import CLASS_IN, Rcode, Type

LISTED_SHARE: Final = 0.8
MALFORMED_SHARE: Final = 0.1
# As dnsload.c reads it: length, response code, answers, flags.
_RECORD: Final = struct.Struct("!HBBB")
_UNCHECKED: Final = 1
_HEADER: Final = struct.Struct("!HHHHHH")
_TAIL: Final = struct.Struct("!HH")
# Owner, type, size, extended code and version and flags, length of the options.
_OPT: Final = struct.Struct("!BHHIH")
_OPTION: Final = struct.Struct("!HH")
_EDNS_BYTES: Final = 1232
_DNSSEC_OK: Final = 0x8000
# RFC 7873, 4: a client that knows no server cookie yet sends 8 bytes.
_COOKIE, _COOKIE_BYTES = 10, 8
_RRSIG: Final = 46
# Data types (RFC 6895, 3.1) of which no server has any at a name. OPT is none, PowerDNS refuses
# RRSIG, and those above 127 are answered by each server in its way.
_ABSENT_TYPES: Final = [n for n in range(2, 128) if n not in (Type.TXT, Type.OPT, _RRSIG)]


@dataclass(frozen=True, slots=True)
class Expected:
    """The answer that is right."""

    rcode: Rcode
    answers: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A query with the identifier 0; `expected` None: any answer is right, and none is too."""

    wire: bytes
    expected: Expected | None


def query(name: str, type_: int, opt: bytes = b"") -> bytes:
    """A query (RFC 1035, 4.1) for the class IN; `opt` is the OPT record."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    header = _HEADER.pack(0, 0, 1, 0, 0, 1 if opt else 0)
    return header + labels + b"\0" + _TAIL.pack(type_, CLASS_IN) + opt


def edns(options: bytes = b"", *, dnssec_ok: bool = False) -> bytes:
    """An OPT record (RFC 6891, 6.1.2)."""
    flags = _DNSSEC_OK if dnssec_ok else 0
    return _OPT.pack(0, Type.OPT, _EDNS_BYTES, flags, len(options)) + options


class _Source:
    """Draws names, the same for one seed."""

    def __init__(self, names: Names, seed: int) -> None:
        self.random = random.Random(seed)
        self._names = names

    def name(self) -> tuple[str, bool]:
        """A name of the zone, and whether it is registered, as most are."""
        listed = self.random.random() < LISTED_SHARE
        numbers = self._names.listed if listed else self._names.unlisted
        return f"{dashed(self.random.choice(numbers))}.{ORIGIN}", listed

    def listed(self) -> str:
        """A registered name."""
        return f"{dashed(self.random.choice(self._names.listed))}.{ORIGIN}"

    def unlisted(self) -> str:
        """Every other one has the form of a registered one."""
        if self.random.random() < 0.5:
            return f"{dashed(self.random.choice(self._names.unlisted))}.{ORIGIN}"
        return f"x{self.random.getrandbits(40):x}.{ORIGIN}"


def _usual(source: _Source, type_: int = Type.A, opt: bytes = b"") -> Asked:
    name, listed = source.name()
    rcode = Rcode.NOERROR if listed else Rcode.NXDOMAIN
    return Asked(query(name, type_, opt), Expected(rcode, int(listed and type_ == Type.A)))


def _all_aaaa(source: _Source) -> Asked:
    return _usual(source, Type.AAAA)


def _all_unknown(source: _Source) -> Asked:
    return Asked(query(source.unlisted(), Type.A), Expected(Rcode.NXDOMAIN, 0))


def _out_of_zone(source: _Source) -> Asked:
    name = source.listed().removesuffix(ORIGIN) + "example.net"
    return Asked(query(name, Type.A), Expected(Rcode.REFUSED, 0))


def _cookies(source: _Source) -> Asked:
    cookie = source.random.randbytes(_COOKIE_BYTES)
    return _usual(source, opt=edns(_OPTION.pack(_COOKIE, _COOKIE_BYTES) + cookie))


def _dnssec_ok(source: _Source) -> Asked:
    return _usual(source, opt=edns(dnssec_ok=True))


def _random_types(source: _Source) -> Asked:
    return _usual(source, source.random.choice(_ABSENT_TYPES))


def _malformed(source: _Source) -> Asked:
    usual = _usual(source)
    if source.random.random() >= MALFORMED_SHARE:
        return usual
    return Asked(_spoil(usual.wire, source.random), None)


def _spoil(wire: bytes, source: random.Random) -> bytes:
    spoiled = bytearray(wire)
    way = source.randrange(4)
    if way == 0:
        # Cut off somewhere.
        return bytes(spoiled[: source.randrange(2, len(spoiled))])
    if way == 1:
        # Counts of records that are not there.
        spoiled[4:12] = source.randbytes(8)
    elif way == 2:
        # A first label that reaches past the end, or that is a pointer.
        spoiled[12] = source.randrange(64, 256)
    else:
        # Noise after a header.
        spoiled[12:] = source.randbytes(len(spoiled) - 12)
    return bytes(spoiled)


def _signed_size(source: _Source) -> Asked:
    return Asked(query(source.listed(), Type.TXT), Expected(Rcode.NOERROR, 1))


USUAL: Final = "usual"
SIGNED_SIZE: Final = "signed_size"
# What a server should bear as well as the usual, and what resolvers send.
HOSTILE: Final = (
    "all_aaaa",
    "all_unknown",
    "out_of_zone",
    "cookies",
    "random_types",
    "malformed",
    "dnssec_ok",
)
_MIXES: Final[dict[str, Callable[[_Source], Asked]]] = {
    USUAL: _usual,
    SIGNED_SIZE: _signed_size,
    "all_aaaa": _all_aaaa,
    "all_unknown": _all_unknown,
    "out_of_zone": _out_of_zone,
    "cookies": _cookies,
    "random_types": _random_types,
    "malformed": _malformed,
    "dnssec_ok": _dnssec_ok,
}


def make_queries(mix: str, names: Names, count: int, seed: int = 1) -> Iterator[Asked]:
    """`count` queries of a mix."""
    source, draw = _Source(names, seed), _MIXES[mix]
    return (draw(source) for _ in range(count))


def to_be_echoed(asked: Asked) -> Asked:
    """The same query, right when it comes back as an answer without records."""
    return asked if asked.expected is None else replace(asked, expected=Expected(Rcode.NOERROR, 0))


def write_queries(path: Path, asked: Iterable[Asked]) -> None:
    """Writes a file that dnsload replays."""
    path.write_bytes(b"".join(map(_encode, asked)))


def _encode(asked: Asked) -> bytes:
    expected = asked.expected
    if expected is None:
        return _RECORD.pack(len(asked.wire), 0, 0, _UNCHECKED) + asked.wire
    return _RECORD.pack(len(asked.wire), expected.rcode, expected.answers, 0) + asked.wire


def write_dnsperf_queries(path: Path, names: Names, count: int, seed: int = 1) -> None:
    """The usual mix as dnsperf(1) reads it: a name and a type a line."""
    source = _Source(names, seed)
    path.write_text("".join(f"{source.name()[0]} A\n" for _ in range(count)), encoding="ascii")
