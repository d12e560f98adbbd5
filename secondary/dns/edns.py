"""The OPT record of an answer (RFC 6891, 6.1.2 and 6.1.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import cache
from typing import Final

from secondary.dns.codes import EDNS_VERSION, ExtendedError, Option, Rcode, Type
from secondary.dns.query import DNSSEC_OK_FLAG, Edns

# What passes every path unfragmented (DNS flag day 2020); offered, and never exceeded.
EDNS_UDP_BYTES: Final = 1232

# Root, type, payload size, the upper bits of the response code, version, flags, length.
_OPT: Final = struct.Struct("!BHHBBHH")
_OPTION: Final = struct.Struct("!HH")
_EXTENDED_ERROR: Final = struct.Struct("!H")


def option(code: Option, data: bytes) -> bytes:
    """An option in bytes."""
    return _OPTION.pack(code, len(data)) + data


@cache
def extended_error_option(code: ExtendedError, text: str) -> bytes:
    """An Extended DNS Error (RFC 8914, 2); there are only so many."""
    return option(Option.EXTENDED_ERROR, _EXTENDED_ERROR.pack(code) + text.encode())


def opt_record(edns: Edns | None, rcode: Rcode, options: Iterable[bytes]) -> bytes:
    """The OPT record in bytes, DO as it came; none unless the query had one (RFC 6891, 7)."""
    if edns is None:
        return b""
    data = b"".join(options)
    flags = DNSSEC_OK_FLAG if edns.dnssec_ok else 0
    fixed = _OPT.pack(0, Type.OPT, EDNS_UDP_BYTES, rcode >> 4, EDNS_VERSION, flags, len(data))
    return fixed + data
