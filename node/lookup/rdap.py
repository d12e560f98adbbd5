"""What RDAP says (RFC 9082, RFC 9083): a path in, a status and JSON out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from node.lookup.directory import Directory, HolderListing, Listing, Network, Summary
from node.lookup.jcard import Json, jcard, redacted
from node.lookup.questions import parse_holder, parse_name, parse_network
from node.lookup.whois import MAX_LISTED
from node.printable import printable
from node.times import time_text
from registry.address import IPV4_BYTES, Address
from registry.errors import Problem
from registry.kinds import Status
from registry.label import dashed, parse_dashed
from registry.names import readable
from registry.note import encode_base64

# RFC 9083, 4.1; RFC 9537, 3; the networks as CIDR (NRO); and what only this registry has.
CONFORMANCE: Final = ("rdap_level_0", "redacted", "cidr0", "smtpnic")
# RFC 9083, 10.2.2. Registered means in DNS, so that what is new is active too.
_STATUSES: Final = {
    Status.NEW: ["active"],
    Status.ACTIVE: ["active", "validated"],
    Status.LAPSED: ["inactive"],
    Status.SUSPENDED: ["inactive", "locked"],
}
_SELF: Final = "application/rdap+json"


@dataclass(frozen=True, slots=True)
class RdapAnswer:
    """A status and what is said with it."""

    status: HTTPStatus
    body: Json


def failure(status: HTTPStatus, *description: str) -> RdapAnswer:
    """An error (RFC 9083, 6)."""
    body = {
        "rdapConformance": list(CONFORMANCE),
        "errorCode": int(status),
        "title": status.phrase,
        "description": list(description),
    }
    return RdapAnswer(status, body)


NEVER_LOADED: Final = failure(
    HTTPStatus.SERVICE_UNAVAILABLE, "The register is not loaded here yet: ask another server."
)


def answer(
    path: str, directory: Directory | None, zone: str, url: str, remark: str = ""
) -> RdapAnswer:
    """The answer to a decoded path, without the slash it begins with.

    `directory` is None while none is loaded; `zone` is where the dashed names stand, in lower
    case; `url` is what the paths are below, with a slash at its end. `remark` is told with it.
    """
    kind, _, value = path.partition("/")
    if directory is None:
        return NEVER_LOADED
    rdap = _Rdap(directory, zone, url, remark)
    reader = rdap.readers.get(kind)
    if reader is None:
        return failure(
            HTTPStatus.BAD_REQUEST,
            "This server answers ip/ADDRESS, domain/NAME, entity/HANDLE and help.",
        )
    return reader(value.removesuffix("/"))


class _Rdap:
    """Answers from one directory."""

    def __init__(self, directory: Directory, zone: str, url: str, remark: str) -> None:
        self._directory = directory
        self._zone = zone
        self._url = url
        self._remark = remark
        self.readers: Mapping[str, Callable[[str], RdapAnswer]] = {
            "ip": self.ip,
            "domain": self.domain,
            "entity": self.entity,
            "nameserver": self.nameserver,
            "help": self.help,
        }

    def ip(self, value: str) -> RdapAnswer:
        """ip/ADDRESS, or with a length that means one address (RFC 9082, 3.1.1)."""
        address = _address(value)
        network = parse_network(value) if address is None else None
        if network is not None and network.num_addresses == 1:
            address = Address(network.network_address.packed)
        if address is None:
            return _not_an_address(value, network)
        listing = self._directory.find(address)
        if listing is None:
            return failure(HTTPStatus.NOT_FOUND, f"{address} is not registered.")
        return self._found(self._network(listing), listing.holder)

    def domain(self, value: str) -> RdapAnswer:
        """domain/NAME of the registry's own names (RFC 9082, 3.1.3)."""
        name = parse_name(value)
        if name is None:
            return failure(HTTPStatus.BAD_REQUEST, f"{printable(value)} is no domain name.")
        address = parse_dashed(name.removesuffix(f".{self._zone}"))
        listing = self._directory.find(address) if address is not None else None
        if listing is None or not name.endswith(f".{self._zone}"):
            return failure(
                HTTPStatus.NOT_FOUND,
                f"{name} is none of the names below {self._zone}, which are of addresses, "
                f"such as 192-0-2-36.{self._zone}.",
            )
        return self._found(self._domain(listing), listing.holder)

    def entity(self, value: str) -> RdapAnswer:
        """entity/HANDLE of a holder (RFC 9082, 3.1.5)."""
        holder_id = parse_holder(value)
        if holder_id is None:
            return failure(HTTPStatus.BAD_REQUEST, "A holder's handle has 32 hexadecimal digits.")
        holder = self._directory.find_holder(holder_id)
        if holder is None:
            return failure(HTTPStatus.NOT_FOUND, f"There is no holder {holder_id.hex()}.")
        found = self._directory.of_holder(holder_id, MAX_LISTED)
        listings = (self._directory.find(address) for address in found.addresses)
        body = self._entity(holder)
        body["networks"] = [
            self._network(listing, is_whole=False) for listing in listings if listing is not None
        ]
        if found.count > len(found.addresses):
            body["remarks"] = [
                {
                    "title": "Not all networks",
                    # RFC 9083, 10.2.1.
                    "type": "object truncated due to excessive load",
                    "description": [f"{found.count} addresses, of which {MAX_LISTED} are listed."],
                }
            ]
        return self._answer(body, redacted(holder, "$"))

    def nameserver(self, value: str) -> RdapAnswer:
        """nameserver/NAME: nobody registers any here."""
        if parse_name(value) is None:
            return failure(HTTPStatus.BAD_REQUEST, f"{printable(value)} is no host name.")
        return failure(HTTPStatus.NOT_FOUND, "Name servers are not registered here.")

    def help(self, _value: str) -> RdapAnswer:
        """help (RFC 9082, 3.1.6): what there is, and how much."""
        summary = self._directory.summary()
        both = summary.ipv4 + summary.ipv6
        help_ = {
            "title": "Help",
            "description": [
                f"The register of mail servers behind {self._zone}.",
                f"{self._url}ip/192.0.2.36: one mail server.",
                f"{self._url}domain/192-0-2-36.{self._zone}: the same, by its name in DNS.",
                f"{self._url}entity/HANDLE: a holder and its mail servers.",
            ],
        }
        count = {
            "title": "Statistics",
            "description": [
                f"{both.all} mail servers: {summary.ipv4.all} of IPv4, {summary.ipv6.all} of IPv6.",
                f"{summary.domains} domains, {summary.holders} holders.",
            ],
        }
        body = self._answer({"smtpnic_statistics": _statistics(summary)}, []).body
        body["notices"] = [help_, count, *body["notices"]]
        return RdapAnswer(HTTPStatus.OK, body)

    def _found(self, body: Json, holder: HolderListing | None) -> RdapAnswer:
        if holder is None:
            return self._answer(body, [])
        entity = {**self._entity(holder), "roles": ["registrant"]}
        path = "$.entities[0]"
        return self._answer({**body, "entities": [entity]}, redacted(holder, path))

    def _answer(self, body: Json, redactions: list[Json]) -> RdapAnswer:
        as_of = self._directory.as_of
        whole: Json = {"rdapConformance": list(CONFORMANCE), "notices": self._notices(), **body}
        if redactions:
            whole["redacted"] = redactions
        whole["smtpnic_log"] = {
            "origin": as_of.checkpoint.origin,
            "size": as_of.checkpoint.size,
            "root": encode_base64(as_of.checkpoint.root),
        }
        if "events" in whole:
            whole["events"] = [
                *whole["events"],
                _event("last update of RDAP database", as_of.vouched_s * 1000),
            ]
        return RdapAnswer(HTTPStatus.OK, whole)

    def _notices(self) -> list[Json]:
        terms = {
            "title": "Terms of use",
            "description": [
                "Contact is shown as its holder chose, to reach who runs a mail server; "
                "not for advertising."
            ],
        }
        check = {
            "title": "How to check this",
            "description": [
                "The log named by smtpnic_log is signed; any mirror proves what it holds: "
                "smtpnic verify ADDRESS --mirror HOST:PORT --root root.note"
            ],
        }
        if not self._remark:
            return [terms, check]
        return [{"title": "Warning", "description": [self._remark]}, terms, check]

    def _network(self, listing: Listing, *, is_whole: bool = True) -> Json:
        address, text = listing.address, str(listing.address)
        is_ipv4 = len(address.packed) == IPV4_BYTES
        body: Json = {
            "objectClassName": "ip network",
            "handle": text,
            "startAddress": text,
            "endAddress": text,
            "ipVersion": "v4" if is_ipv4 else "v6",
            "name": listing.registration.host,
            "status": _STATUSES[listing.registration.status],
            "cidr0_cidrs": [
                {"v4prefix": text, "length": 32} if is_ipv4 else {"v6prefix": text, "length": 128}
            ],
            "links": [self._link("self", f"ip/{text}")],
        }
        if is_whole:
            related = self._link("related", f"domain/{dashed(address)}.{self._zone}", f"ip/{text}")
            body["links"].append(related)
            body |= self._of_registration(listing)
        return body

    def _domain(self, listing: Listing) -> Json:
        name = f"{dashed(listing.address)}.{self._zone}"
        return {
            "objectClassName": "domain",
            "handle": name,
            "ldhName": name,
            "status": _STATUSES[listing.registration.status],
            "network": self._network(listing, is_whole=False),
            "links": [self._link("self", f"domain/{name}")],
            **self._of_registration(listing),
        }

    def _entity(self, holder: HolderListing) -> Json:
        handle = holder.holder_id.hex()
        return {
            "objectClassName": "entity",
            "handle": handle,
            "roles": ["registrant"],
            "vcardArray": jcard(holder, self._directory.as_of.checkpoint.origin),
            "events": [
                _event("registration", holder.holder.created_ms),
                _event("last changed", holder.updated_ms),
            ],
            "links": [self._link("self", f"entity/{handle}")],
        }

    def _of_registration(self, listing: Listing) -> Json:
        registration = listing.registration
        body: Json = {
            "events": [
                _event("registration", registration.registered_ms),
                _event("last changed", listing.updated_ms),
            ],
            "smtpnic_registration": _registration(listing, self._directory.verified_ms(listing)),
        }
        if registration.reason:
            body["remarks"] = [{"title": "Reason", "description": [registration.reason]}]
        return body

    def _link(self, relation: str, path: str, context: str = "") -> Json:
        return {
            "value": self._url + (context or path),
            "rel": relation,
            "href": self._url + path,
            "type": _SELF,
        }


def _address(text: str) -> Address | None:
    try:
        return Address.parse(text)
    except Problem:
        return None


def _not_an_address(value: str, network: Network | None) -> RdapAnswer:
    if network is None:
        return failure(HTTPStatus.BAD_REQUEST, f"{printable(value)} is no IP address.")
    return failure(
        HTTPStatus.NOT_FOUND,
        f"Single addresses are registered here, and no network such as {network}.",
        "WHOIS lists the addresses of a network.",
    )


def _registration(listing: Listing, verified_ms: int) -> Json:
    """With what no registered event says: when the proofs last held (RFC 9083, 10.2.3)."""
    registration = listing.registration
    verified = {"verified": time_text(verified_ms)} if verified_ms else {}
    return {
        **_name("host", "unicodeHost", registration.host),
        **_name("domain", "unicodeDomain", registration.domain),
        "status": registration.status.name.lower(),
        **verified,
        "logIndex": listing.index,
    }


def _name(label: str, unicode_label: str, name: str) -> Json:
    """Both forms of an international name, as RFC 9083, 3 has it of others."""
    written = printable(readable(name))
    return {label: name} if written == name else {label: name, unicode_label: written}


def _statistics(summary: Summary) -> Json:
    return {
        version: {
            "new": totals.new,
            "active": totals.active,
            "lapsed": totals.lapsed,
            "suspended": totals.suspended,
        }
        for version, totals in (("ipv4", summary.ipv4), ("ipv6", summary.ipv6))
    } | {
        "domains": summary.domains,
        "holders": summary.holders,
        "ages": [
            {
                "fromDays": age.from_days,
                "belowDays": age.below_days,
                "registrations": age.registrations,
            }
            for age in summary.ages
        ],
    }


def _event(action: str, milliseconds: float) -> Json:
    return {"eventAction": action, "eventDate": time_text(milliseconds)}
