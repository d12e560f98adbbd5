"""What WHOIS says to a question: text in, text out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from registry.address import Address
from registry.errors import Problem
from registry.kinds import ContactField
from registry.label import dashed, parse_dashed
from registry.names import parse_host
from secondary.notice import Condition
from secondary.view import Standing
from secondary.whois.directory import Directory, Listing

# As many addresses of one host as fit a screen or two.
MAX_LISTED: Final = 50
_HELP_WORDS: Final = ("", "?", "help")
_LABEL_WIDTH: Final = 16
_CONTACT_LABELS: Final = {
    ContactField.NAME: "contact",
    ContactField.POSTAL_ADDRESS: "contact-address",
    ContactField.EMAIL: "contact-email",
    ContactField.TELEPHONE: "contact-phone",
}

NEVER_LOADED: Final = "% the register is not loaded here yet; ask another server\n"
_REMARKS: Final = {
    Condition.GOOD: "",
    Condition.BEHIND: "% this server is behind others: ask another one\n",
    Condition.FORKED: "% the registry signed two registers: this is the last that both agree on\n",
}
TOO_LONG: Final = "% the question is too long\n"
NOT_UTF8: Final = "% the question is not UTF-8\n"


def answer(question: str, directory: Directory | None, zone: str) -> str:
    """The answer to one line, in lines of its own; `directory` is None while none is loaded.

    `zone` is where the dashed names stand, in lower case.
    """
    asked = question.strip()
    if asked.lower() in _HELP_WORDS:
        return _help(zone)
    if directory is None:
        return NEVER_LOADED
    address = _address(asked, zone)
    if address is not None:
        return _about_address(address, directory, zone)
    try:
        host = parse_host(asked, "host")
    except Problem:
        return f"% {_printable(asked)!r} is no address and no name\n%\n{_help(zone)}"
    return _about_host(host, directory, zone)


def remark(condition: Condition) -> str:
    """What has to be said before every answer; nothing as a rule."""
    return _REMARKS[condition]


def _help(zone: str) -> str:
    return (
        f"% The register of mail servers behind {zone}\n"
        "%\n"
        "% Ask for one of these:\n"
        "%   an address         192.0.2.36, 2001:db8::24\n"
        f"%   its name in DNS    192-0-2-36, 192-0-2-36.{zone}\n"
        "%   a host name        mail.example.org\n"
        "%   this text          help\n"
    )


def _address(asked: str, zone: str) -> Address | None:
    """The address that a question names, itself or by its name in DNS."""
    name = asked.lower().removesuffix(".").removesuffix(f".{zone}")
    named = parse_dashed(name) if name.isascii() else None
    if named is not None:
        return named
    try:
        return Address.parse(asked)
    except Problem:
        return None


def _about_address(address: Address, directory: Directory, zone: str) -> str:
    listing = directory.find(address)
    if listing is None:
        return _no_match(str(address), directory.standing)
    lines = [*_listing_lines(listing, zone), *_standing_lines(directory.standing)]
    return "".join(_line(label, text) for label, text in lines)


def _about_host(host: str, directory: Directory, zone: str) -> str:
    count = directory.count(host)
    addresses = directory.addresses(host, MAX_LISTED)
    if len(addresses) == 1:
        return _about_address(addresses[0], directory, zone)
    if not addresses:
        return _no_match(host, directory.standing)
    lines = [
        ("host", host),
        ("addresses", str(count)),
        *(("address", str(address)) for address in addresses),
        *_standing_lines(directory.standing),
    ]
    text = "".join(_line(label, text) for label, text in lines)
    return f"{text}% ask for one of the addresses to see its registration\n"


def _no_match(asked: str, standing: Standing) -> str:
    return (
        f"% no match: {asked} is not registered\n"
        "% A mail server is registered by whoever runs it, before it sends, with the command\n"
        "%   smtpnic register\n"
        "%\n"
    ) + "".join(_line(label, text) for label, text in _standing_lines(standing))


def _listing_lines(listing: Listing, zone: str) -> Iterator[tuple[str, str]]:
    registration = listing.registration
    yield "address", str(listing.address)
    yield "dns-name", f"{dashed(listing.address)}.{zone}"
    yield "host", registration.host
    yield "domain", registration.domain
    yield "status", registration.status.name.lower()
    if registration.reason:
        yield "reason", registration.reason
    yield "registered", _time(registration.registered_ms / 1000)
    yield "last-updated", _time(listing.updated_ms / 1000)
    yield "holder", registration.holder_id.hex()
    for opening in listing.contact:
        yield _CONTACT_LABELS[opening.field], _printable(opening.value)
    yield "log-index", str(listing.index)


def _standing_lines(standing: Standing) -> Iterator[tuple[str, str]]:
    """Where the answer comes from, so that it can be compared with another server's."""
    yield "log-origin", standing.position.checkpoint.origin
    yield "log-size", str(standing.position.checkpoint.size)
    yield "as-of", _time(standing.vouched_s)


def _line(label: str, text: str) -> str:
    return f"{label + ':':<{_LABEL_WIDTH}} {text}\n"


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _printable(text: str) -> str:
    """The text without what could forge a line, or turn one around on a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
