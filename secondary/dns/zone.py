"""What all zones share: apex, absence, and the letter case of names."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Protocol

from dnslib import CAA, NS, RD, RR, DNSLabel

from secondary.dns.codes import CLASS_IN, Rcode, Type
from secondary.dns.fast_path import FastZone, ZoneKind
from secondary.dns.records import TEXT_VERSION, record, text, text_data, wire_name
from secondary.dns.reply import Reply
from secondary.dns.table import NameTable

# Who is refused, registers and tries again waits a minute at most (RFC 2308, 5).
NEGATIVE_TTL: Final = 60
APEX_TTL: Final = 300
# For secondaries that transfer the zone; ours follow the log, so these are only customary.
# Expire is the two weeks for which lookups outlive the primary.
_SOA_REFRESH, _SOA_RETRY, _SOA_EXPIRE = 3600, 600, 14 * 86400
_SOA_TIMES: Final = struct.Struct("!IIIII")
# Type, class, TTL, length of the data.
_RECORD_TAIL: Final = struct.Struct("!HHIH")
# RFC 8659, 4.2: nobody may issue certificates for names that exist to be looked up.
_NO_ISSUER: Final = (0, "issue", ";")


@dataclass(frozen=True, slots=True)
class ZoneNames:
    """Names of a zone; lower-case host names without a closing dot.

    The name servers stand outside the zone, which has no address records for them, unless it
    `holds_servers`.
    """

    origin: str
    name_servers: tuple[str, ...]
    # RNAME of the SOA: the mailbox with a dot in place of the @ (RFC 1035, 3.3.13).
    hostmaster: str
    holds_servers: bool = False

    def __post_init__(self) -> None:
        if not self.origin or not self.name_servers or not self.hostmaster:
            raise ValueError("a zone has an origin, a hostmaster, and one name server or more")
        if self.origin != self.origin.lower().strip("."):
            raise ValueError(f"zone {self.origin}: expected lower case, without dots around it")
        for host in self.name_servers:
            if not self.holds_servers and f".{host}".endswith(f".{self.origin}"):
                raise ValueError(f"name server {host} stands inside its zone {self.origin}")


class Contents(Protocol):
    """The names below a zone's apex."""

    @property
    def purpose(self) -> str:
        """What the zone is, for the TXT record at its apex."""

    @property
    def kind(self) -> ZoneKind:
        """What its names mean."""

    @property
    def fixed_text(self) -> str:
        """The text of names that have it whatever is registered."""

    def find(
        self, below: tuple[bytes, ...], owner: DNSLabel, type_: int, table: NameTable
    ) -> tuple[RR, ...] | None:
        """The records of a name, given as its lower-case labels below the origin.

        Empty when the name exists without records of the type; None when it does not exist, and
        nothing below it either (RFC 8020). The records carry `owner`.
        """


class Zone:
    """Turns a question at or below the origin into records (RFC 1034, 4.3.2)."""

    def __init__(self, names: ZoneNames, contents: Contents) -> None:
        self.origin = DNSLabel(names.origin)
        self.labels: tuple[bytes, ...] = self.origin.label
        self._depth = len(self.labels)
        self._contents = contents
        self._soa_names = b"".join(
            wire_name(DNSLabel(host).label) for host in (names.name_servers[0], names.hostmaster)
        )
        self._name_servers = [NS(host) for host in names.name_servers]
        self._text = f"{TEXT_VERSION}; {contents.purpose}"

    def holds(self, labels: tuple[bytes, ...]) -> bool:
        """Whether lower-case `labels` are the origin or below it."""
        return labels[-self._depth :] == self.labels

    def find(
        self, labels: tuple[bytes, ...], owner: DNSLabel, type_: int, table: NameTable
    ) -> Reply:
        """The answer for lower-case `labels` within the zone.

        Records at the name asked for carry `owner`, its labels in the letter case of the question.
        """
        below = labels[: -self._depth]
        records: tuple[RR, ...] | None
        if not below:
            records = self._apex(owner, type_, table)
        else:
            records = self._contents.find(below, owner, type_, table)
        if records:
            return Reply(Rcode.NOERROR, answers=records, authoritative=True)
        return self.absent(Rcode.NXDOMAIN if records is None else Rcode.NOERROR, owner, table)

    def absent(self, rcode: Rcode, owner: DNSLabel, table: NameTable) -> Reply:
        """NXDOMAIN or NODATA, with what says how long it may be kept (RFC 2308, 3)."""
        # RFC 2308, 3: the SOA stands at the origin, in the letter case of the question.
        soa = self._soa(DNSLabel(owner.label[len(owner.label) - self._depth :]), table)
        return Reply(rcode, authority=(soa,), authoritative=True)

    def _apex(self, owner: DNSLabel, type_: int, table: NameTable) -> tuple[RR, ...]:
        # One record set is answer enough to ANY (RFC 8482, 4.1).
        if type_ in (Type.SOA, Type.ANY):
            return (self._soa(owner, table),)
        if type_ == Type.NS:
            return tuple(record(owner, Type.NS, APEX_TTL, data) for data in self._name_servers)
        if type_ == Type.TXT:
            return (text(owner, APEX_TTL, self._text),)
        if type_ == Type.CAA:
            return (record(owner, Type.CAA, APEX_TTL, CAA(*_NO_ISSUER)),)
        return ()

    def _soa(self, owner: DNSLabel, table: NameTable) -> RR:
        serial = table.standing.position.state.zone_serial
        return record(owner, Type.SOA, NEGATIVE_TTL, RD(self._soa_data(serial)))

    def _soa_data(self, serial: int) -> bytes:
        """Its names are not compressed: so only the serial ever differs."""
        times = (serial, _SOA_REFRESH, _SOA_RETRY, _SOA_EXPIRE, NEGATIVE_TTL)
        return self._soa_names + _SOA_TIMES.pack(*times)

    def fast(self) -> FastZone:
        """What answers below the apex are made of, for who makes them without records."""
        data = self._soa_data(0)
        absence = _RECORD_TAIL.pack(Type.SOA, CLASS_IN, NEGATIVE_TTL, len(data)) + data
        return FastZone(
            self._contents.kind,
            wire_name(self.labels),
            absence,
            text_data(self._contents.fixed_text),
        )
