"""What an answer of DNS says about an address. A failure is not an answer."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import dns.message
import dns.rcode
import dns.rdatatype

from registry.address import IPV4_BYTES, Address

# The one code that the registry's lists have (RFC 5782, 2.1).
LISTED: Final = "127.0.0.2"
_MAPPED_PREFIX: Final = bytes(10) + b"\xff\xff"


class Finding(StrEnum):
    """What a receiver would conclude."""

    REGISTERED = "registered"
    NOT_REGISTERED = "not registered"
    FAILURE = "failure"


def unmapped(address: Address) -> Address:
    """The IPv4 address that one in ::ffff:0:0/96 is (RFC 4291, 2.5.5.2); any other as it is."""
    if address.packed.startswith(_MAPPED_PREFIX):
        return Address(address.packed[-IPV4_BYTES:])
    return address


def address_type(address: Address) -> dns.rdatatype.RdataType:
    """The type of the record that a registered address has at its dashed name."""
    return dns.rdatatype.A if address.family == 4 else dns.rdatatype.AAAA


def judge(response: dns.message.Message, address: Address) -> tuple[Finding, str]:
    """What the answer for the dashed name says, and why where that is not plain."""
    if response.rcode() == dns.rcode.NXDOMAIN:
        return Finding.NOT_REGISTERED, ""
    if response.rcode() != dns.rcode.NOERROR:
        return Finding.FAILURE, _failure(response)
    found = _values(response, address_type(address))
    if found == {str(address)}:
        return Finding.REGISTERED, ""
    if found:
        # A resolver that rewrites answers would otherwise register the whole world.
        return Finding.FAILURE, f"the answer is {', '.join(sorted(found))}, not the address asked"
    return Finding.NOT_REGISTERED, "the name exists without an address record"


def judge_listing(response: dns.message.Message) -> tuple[Finding, str]:
    """What the answer for a name of the list says: registered is what is listed."""
    if response.rcode() == dns.rcode.NXDOMAIN:
        return Finding.NOT_REGISTERED, ""
    if response.rcode() != dns.rcode.NOERROR:
        return Finding.FAILURE, _failure(response)
    found = _values(response, dns.rdatatype.A)
    if found == {LISTED}:
        return Finding.REGISTERED, ""
    if found:
        return Finding.FAILURE, f"the answer is {', '.join(sorted(found))}, not {LISTED}"
    return Finding.NOT_REGISTERED, ""


def _values(response: dns.message.Message, rdtype: dns.rdatatype.RdataType) -> set[str]:
    return {str(rdata) for rrset in response.answer if rrset.rdtype == rdtype for rdata in rrset}


def _failure(response: dns.message.Message) -> str:
    # RFC 8914: the code is for programs, the text for people.
    reasons = [
        f"EDE {int(error.code)}" + (f" ({error.text})" if error.text else "")
        for error in response.extended_errors()
    ]
    return ", ".join([dns.rcode.to_text(response.rcode()), *reasons])
