"""The numbers of the DNS that are used here, by their IANA names."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Rcode(IntEnum):
    """Response codes (RFC 1035, 4.1.1; BADVERS: RFC 6891, 6.1.3; BADCOOKIE: RFC 7873, 8)."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16
    BADCOOKIE = 23


class Type(IntEnum):
    """Record and query types that are treated specially; others are just absent."""

    A = 1
    NS = 2
    SOA = 6
    TXT = 16
    AAAA = 28
    OPT = 41
    DS = 43
    IXFR = 251
    AXFR = 252
    ANY = 255
    CAA = 257


class ExtendedError(IntEnum):
    """INFO-CODEs of Extended DNS Errors (RFC 8914, 4)."""

    STALE_ANSWER = 3
    NOT_READY = 14
    PROHIBITED = 18
    STALE_NXDOMAIN_ANSWER = 19
    NOT_AUTHORITATIVE = 20
    # "its most recent zone is too old or has expired" (RFC 8914, 4.25).
    INVALID_DATA = 24


class Option(IntEnum):
    """EDNS options that mean something here."""

    # RFC 5001, 2.1; RFC 7873, 4; RFC 8914, 2.
    NSID = 3
    COOKIE = 10
    EXTENDED_ERROR = 15


CLASS_IN: Final = 1
CLASS_CHAOS: Final = 3
OPCODE_QUERY: Final = 0
EDNS_VERSION: Final = 0
