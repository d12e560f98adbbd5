"""What WHOIS says to a question: text in, text out."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from node.lookup.directory import AsOf, Directory, HolderListing, Listing, Several
from node.lookup.questions import (
    AboutAddress,
    AboutDomain,
    AboutHolder,
    AboutHost,
    AboutNetwork,
    Help,
    Question,
    Stats,
    parse_question,
)
from node.printable import printable
from node.times import time_text
from registry.address import Address
from registry.kinds import ContactField, Status
from registry.label import dashed
from registry.names import readable
from registry.note import encode_base64
from registry.relaying import relay_address
from registry.statistics import Totals

# As many addresses as fit a screen or two.
MAX_LISTED: Final = 50
_LABEL_WIDTH: Final = 16
CONTACT_LABELS: Final = {
    ContactField.NAME: "contact",
    ContactField.POSTAL_ADDRESS: "contact-address",
    ContactField.EMAIL: "contact-email",
    ContactField.TELEPHONE: "contact-phone",
}
# By which somebody can be reached; where none is public, the relay is told.
WAYS: Final = frozenset({ContactField.POSTAL_ADDRESS, ContactField.EMAIL, ContactField.TELEPHONE})
# How often it is looked at whether a registration still holds.
REVIEWS: Final = {
    Status.NEW: "at five moments of its first week",
    Status.ACTIVE: "about once a day, or as the board has set",
    Status.LAPSED: "about once a day, for 30 days: mended, it comes back",
    Status.SUSPENDED: "none while suspended by the board",
}

NEVER_LOADED: Final = "% the register is not loaded here yet; ask another server\n"
TOO_LONG: Final = "% the question is too long: a line of 1,024 octets at most\n"
NOT_UTF8: Final = "% the question is not UTF-8\n"
TOO_MANY_CONNECTIONS: Final = "% too many connections from your address: let others end first\n"

_Lines = Iterator[tuple[str, str]]


def too_often(seconds: float) -> str:
    """The answer to who asks more often than may be."""
    return f"% too many questions from your address: try again in {max(1, round(seconds))} s\n"


def answer(line: str, directory: Directory | None, zone: str) -> str:
    """The answer to one line, in lines of its own; `directory` is None while none is loaded.

    `zone` is where the dashed names stand, in lower case.
    """
    question = parse_question(line, zone)
    if isinstance(question, Help):
        return _help(zone)
    if directory is None:
        return NEVER_LOADED
    if question is None:
        asked = printable(line.strip())
        return f"% {asked!r} is nothing that can be asked for\n%\n{_help(zone)}"
    return _Answering(directory, zone).about(question)


def _help(zone: str) -> str:
    return (
        f"% The register of mail servers behind {zone}\n"
        "%\n"
        "% Ask for one of these:\n"
        "%   an address         192.0.2.36, 2001:db8::24\n"
        f"%   its name in DNS    192-0-2-36, 192-0-2-36.{zone}\n"
        f"%   a network          192.0.2.0/24: the first {MAX_LISTED} in it\n"
        "%   a host name        mail.example.org\n"
        "%   a domain           domain example.org: hosts of that name and below it\n"
        f"%   a holder           32 hexadecimal digits, or relay+...@{zone}\n"
        "%   how much there is  stats\n"
        "%   this text          help\n"
        "%\n"
        "% An answer names the log, its size and root, and the index of its entry. Mirrors\n"
        "% prove it: smtpnic verify ADDRESS --mirror HOST:PORT --root root.note\n"
    )


class _Answering:
    """Answers from one directory."""

    def __init__(self, directory: Directory, zone: str) -> None:
        self._directory = directory
        self._zone = zone

    def about(self, question: Question) -> str:
        """The answer to a question."""
        match question:
            case AboutAddress(address):
                text = self._about_address(address)
            case AboutNetwork(network):
                found = self._directory.within(network, MAX_LISTED)
                text = self._list("network", str(network), found)
            case AboutHost(name):
                text = self._about_host(name)
            case AboutDomain(name):
                text = self._about_domain(name)
            case AboutHolder(holder_id):
                text = self._about_holder(holder_id)
            case Stats():
                text = _text(self._stats()) + self._as_of
            case Help():
                text = _help(self._zone)
        return text

    def _about_host(self, name: str) -> str:
        found = self._directory.of_host(name, MAX_LISTED)
        if found.count == 1:
            return self._about_address(found.addresses[0])
        return self._list("host", name, found) if found.count else self._about_domain(name)

    def _about_domain(self, name: str) -> str:
        return self._list("domain", name, self._directory.of_domain(name, MAX_LISTED))

    def _about_address(self, address: Address) -> str:
        listing = self._directory.find(address)
        if listing is None:
            return self._no_match(f"{address} is not registered")
        text = _text(self._listing(listing)) + self._as_of
        return (
            f"{text}% Checked with the board's root alone, at any mirror:\n"
            f"%   smtpnic verify {address} --mirror HOST:PORT --root root.note\n"
        )

    def _about_holder(self, holder_id: bytes) -> str:
        holder = self._directory.find_holder(holder_id)
        if holder is None:
            return self._no_match(f"there is no holder {holder_id.hex()}")
        found = self._directory.of_holder(holder_id, MAX_LISTED)
        lines = [
            ("holder", holder_id.hex()),
            ("created", time_text(holder.holder.created_ms)),
            ("last-updated", time_text(holder.updated_ms)),
            *self._contact(holder),
            ("log-index", str(holder.index)),
        ]
        return _text(iter(lines), _addresses(found)) + self._as_of + _rest(found)

    def _list(self, label: str, asked: str, found: Several) -> str:
        if not found.count:
            return self._no_match(f"nothing is registered for {asked}")
        text = _text(iter([(label, asked)]), _addresses(found)) + self._as_of
        return f"{text}{_rest(found)}% ask for one of the addresses to see its registration\n"

    def _no_match(self, why: str) -> str:
        return (
            f"% no match: {why}\n"
            "% A mail server is registered by whoever runs it, before it sends, with the command\n"
            "%   smtpnic register\n"
            "%\n"
        ) + self._as_of

    def _listing(self, listing: Listing) -> _Lines:
        registration = listing.registration
        yield "address", str(listing.address)
        yield "dns-name", f"{dashed(listing.address)}.{self._zone}"
        for label, name in (("host", registration.host), ("domain", registration.domain)):
            yield label, name
            if (written := readable(name)) != name:
                yield f"{label}-unicode", printable(written)
        yield "status", registration.status.name.lower()
        if registration.reason:
            yield "reason", registration.reason
        if verified_ms := self._directory.verified_ms(listing):
            yield "verified", time_text(verified_ms)
        yield "reviews", REVIEWS[registration.status]
        yield "registered", time_text(registration.registered_ms)
        yield "last-updated", time_text(listing.updated_ms)
        yield "holder", registration.holder_id.hex()
        if listing.holder is not None:
            yield from self._contact(listing.holder)
        yield "log-index", str(listing.index)

    def _contact(self, holder: HolderListing) -> _Lines:
        for opening in holder.contact:
            yield CONTACT_LABELS[ContactField(opening.field)], printable(opening.value)
        if needs_relay(holder):
            yield "contact-relay", relay_address(holder.holder_id, self._origin)

    def _stats(self) -> _Lines:
        summary = self._directory.summary()
        both = summary.ipv4 + summary.ipv6
        yield "registrations", str(both.all)
        yield "of-ipv4", str(summary.ipv4.all)
        yield "of-ipv6", str(summary.ipv6.all)
        yield from _totals(both)
        yield "domains", str(summary.domains)
        yield "holders", str(summary.holders)
        for age in summary.ages:
            end = "" if age.below_days is None else f"-{age.below_days}"
            yield f"days-{age.from_days}{end or '-up'}", str(age.registrations)

    @property
    def _as_of(self) -> str:
        return _origin_text(self._directory.as_of)

    @property
    def _origin(self) -> str:
        return self._directory.as_of.checkpoint.origin


# The same for all answers of a second or so.
@lru_cache(1)
def _origin_text(as_of: AsOf) -> str:
    """Where an answer comes from, so that it can be compared with another server's."""
    lines = (
        ("log-origin", as_of.checkpoint.origin),
        ("log-size", str(as_of.checkpoint.size)),
        ("log-root", encode_base64(as_of.checkpoint.root)),
        ("as-of", time_text(as_of.vouched_s * 1000)),
    )
    return _text(iter(lines))


def needs_relay(holder: HolderListing) -> bool:
    """Whether nothing that is public tells how to reach the holder."""
    return not any(opening.field in WAYS for opening in holder.contact)


def _addresses(found: Several) -> _Lines:
    yield "addresses", str(found.count)
    for address in found.addresses:
        yield "address", str(address)


def _rest(found: Several) -> str:
    left = found.count - len(found.addresses)
    return (
        f"% {left} more are not listed: ask for a smaller network, or for a host\n" if left else ""
    )


def _totals(totals: Totals) -> _Lines:
    yield "new", str(totals.new)
    yield "active", str(totals.active)
    yield "lapsed", str(totals.lapsed)
    yield "suspended", str(totals.suspended)


def _text(*parts: _Lines) -> str:
    return "".join(
        f"{f'{label}:'.ljust(_LABEL_WIDTH)} {text}\n" for lines in parts for label, text in lines
    )
