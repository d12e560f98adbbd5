"""The zone of dashed names: which records stand at which name, and what an absence looks like."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from dnslib import AAAA, CAA, NS, RR, SOA, TXT, A, DNSLabel

from registry.address import Address
from registry.label import parse_dashed
from secondary.dns.codes import CLASS_IN, Rcode, Type
from secondary.dns.reply import Reply
from secondary.dns.table import Listing, NameTable

# A registration that changes is seen everywhere within five minutes.
NAME_TTL: Final = 300
# Who is refused, registers and tries again waits a minute at most (RFC 2308, 5).
NEGATIVE_TTL: Final = 60
APEX_TTL: Final = 300
# RFC 1035, 3.3.14: a character-string holds 255 bytes.
_STRING_BYTES: Final = 255
# For secondaries that transfer the zone; ours follow the log, so these are only customary.
# Expire is the two weeks for which lookups outlive the primary.
_SOA_REFRESH, _SOA_RETRY, _SOA_EXPIRE = 3600, 600, 14 * 86400
_TEXT_VERSION: Final = "v=smtpnic1"
# RFC 8659, 4.2: nobody may issue certificates for names that exist to be looked up.
_NO_ISSUER: Final = (0, "issue", ";")


@dataclass(frozen=True, slots=True)
class ZoneNames:
    """Names of the zone; lower-case host names without a closing dot.

    The name servers stand outside the zone: it has no address records for them.
    """

    origin: str
    name_servers: tuple[str, ...]
    # RNAME of the SOA: the mailbox with a dot in place of the @ (RFC 1035, 3.3.13).
    hostmaster: str

    def __post_init__(self) -> None:
        if not self.origin or not self.name_servers or not self.hostmaster:
            raise ValueError("a zone has an origin, a hostmaster, and one name server or more")
        if self.origin != self.origin.lower().strip("."):
            raise ValueError(f"zone {self.origin}: expected lower case, without dots around it")
        for host in self.name_servers:
            if f".{host}".endswith(f".{self.origin}"):
                raise ValueError(f"name server {host} stands inside its zone {self.origin}")


class Zone:
    """Turns a question below the origin into records (RFC 1034, 4.3.2)."""

    def __init__(self, names: ZoneNames) -> None:
        self.origin = DNSLabel(names.origin)
        self._labels: tuple[bytes, ...] = self.origin.label
        self._depth = len(self._labels)
        self._mname = DNSLabel(names.name_servers[0])
        self._rname = DNSLabel(names.hostmaster)
        self._name_servers = [NS(host) for host in names.name_servers]
        # The last serial seen, and the SOA of that serial: most questions are for what is absent.
        self._absence: tuple[int, RR] | None = None
        self._text = f"{_TEXT_VERSION}; register of mail servers"

    def holds(self, labels: tuple[bytes, ...]) -> bool:
        """Whether lower-case `labels` are the origin or below it."""
        return labels[-self._depth :] == self._labels

    def find(
        self, labels: tuple[bytes, ...], owner: DNSLabel, type_: int, table: NameTable
    ) -> Reply:
        """The answer for lower-case `labels` within the zone.

        Records at the name asked for carry `owner`, its labels in the letter case of the question.
        """
        below = labels[: -self._depth]
        if not below:
            records = self._apex(owner, type_, table)
        else:
            # Nothing exists below a registered name, so one label is all there can be.
            address = _dashed_address(below)
            listing = None if address is None else table.find(address)
            if address is None or listing is None:
                return self._absent(Rcode.NXDOMAIN, table)
            records = _records_of(address, listing, owner, type_)
        if records:
            return Reply(Rcode.NOERROR, answers=records, authoritative=True)
        return self._absent(Rcode.NOERROR, table)

    def _absent(self, rcode: Rcode, table: NameTable) -> Reply:
        """NXDOMAIN or NODATA, with what says how long it may be kept (RFC 2308, 3)."""
        serial = table.standing.position.state.zone_serial
        known = self._absence
        if known is None or known[0] != serial:
            known = self._absence = (serial, self._soa(self.origin, table))
        return Reply(rcode, authority=(known[1],), authoritative=True)

    def _apex(self, owner: DNSLabel, type_: int, table: NameTable) -> tuple[RR, ...]:
        # One record set is answer enough to ANY (RFC 8482, 4.1).
        if type_ in (Type.SOA, Type.ANY):
            return (self._soa(owner, table),)
        if type_ == Type.NS:
            return tuple(_record(owner, Type.NS, APEX_TTL, data) for data in self._name_servers)
        if type_ == Type.TXT:
            return (_text(owner, APEX_TTL, self._text),)
        if type_ == Type.CAA:
            return (_record(owner, Type.CAA, APEX_TTL, CAA(*_NO_ISSUER)),)
        return ()

    def _soa(self, owner: DNSLabel, table: NameTable) -> RR:
        serial = table.standing.position.state.zone_serial
        times = (serial, _SOA_REFRESH, _SOA_RETRY, _SOA_EXPIRE, NEGATIVE_TTL)
        return _record(owner, Type.SOA, NEGATIVE_TTL, SOA(self._mname, self._rname, times))


def _dashed_address(below: tuple[bytes, ...]) -> Address | None:
    """The address whose dashed form is the one label below the origin."""
    if len(below) != 1 or not below[0].isascii():
        return None
    return parse_dashed(below[0].decode("ascii"))


def _records_of(address: Address, listing: Listing, owner: DNSLabel, type_: int) -> tuple[RR, ...]:
    own_type, data = (Type.A, A) if address.family == 4 else (Type.AAAA, AAAA)
    if type_ in (own_type, Type.ANY):
        return (_record(owner, own_type, NAME_TTL, data(tuple(address.packed))),)
    if type_ == Type.TXT:
        return (_text(owner, NAME_TTL, describe(listing)),)
    return ()


def describe(listing: Listing) -> str:
    """The machine-readable text of a registered name."""
    since = datetime.fromtimestamp(listing.since_s, UTC).date().isoformat()
    status = listing.status.name.lower()
    return f"{_TEXT_VERSION}; since={since}; status={status}; host={listing.host}"


def _text(owner: DNSLabel, ttl: int, text: str) -> RR:
    data = text.encode("ascii")
    strings = [data[at : at + _STRING_BYTES] for at in range(0, len(data), _STRING_BYTES)]
    return _record(owner, Type.TXT, ttl, TXT(strings))


def _record(owner: DNSLabel, type_: Type, ttl: int, data: object) -> RR:
    return RR(owner, type_, CLASS_IN, ttl, data)
