"""What a line of WHOIS asks for."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from node.lookup.directory import Network
from registry.address import Address
from registry.errors import Problem
from registry.label import parse_dashed
from registry.names import parse_host
from registry.relaying import holder_of

_HELP_WORDS: Final = ("", "?", "help")
_STATS_WORDS: Final = ("stats", "statistics")
_HOLDER: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Help:
    """How to ask."""


@dataclass(frozen=True, slots=True)
class Stats:
    """How much there is."""


@dataclass(frozen=True, slots=True)
class AboutAddress:
    """One registration."""

    address: Address


@dataclass(frozen=True, slots=True)
class AboutNetwork:
    """The registrations of a network."""

    network: Network


@dataclass(frozen=True, slots=True)
class AboutHost:
    """The registrations of a host, and if there are none, those below the name."""

    name: str


@dataclass(frozen=True, slots=True)
class AboutDomain:
    """The registrations at a name and below it."""

    name: str


@dataclass(frozen=True, slots=True)
class AboutHolder:
    """A holder and its registrations."""

    holder_id: bytes


Question = Help | Stats | AboutAddress | AboutNetwork | AboutHost | AboutDomain | AboutHolder


def parse_question(line: str, zone: str) -> Question | None:
    """What the line asks for; None if it cannot be told.

    `zone` is where the dashed names stand, and where relay addresses are, in lower case.
    """
    asked = line.strip()
    word, _, rest = asked.partition(" ")
    reader = _WORDS.get(word.lower())
    if reader is not None and rest.strip():
        return reader(rest.strip(), zone)
    lower = asked.lower()
    if lower in _HELP_WORDS:
        return Help()
    if lower in _STATS_WORDS:
        return Stats()
    for read in (_address, _network, _holder, _host):
        question = read(asked, zone)
        if question is not None:
            return question
    return None


def parse_network(text: str) -> Network | None:
    """A network with its length, whatever bits of the address are set; None if it is none."""
    if "/" not in text:
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def parse_holder(text: str) -> bytes | None:
    """A holder's identifier: 32 hexadecimal digits."""
    lower = text.lower()
    return bytes.fromhex(lower) if _HOLDER.fullmatch(lower) else None


def parse_name(text: str) -> str | None:
    """A host or domain name in its canonical form; None if it is none."""
    try:
        return parse_host(text, "host")
    except Problem:
        return None


def parse_address(text: str, zone: str) -> Address | None:
    """An address, or its name in DNS."""
    name = text.lower().removesuffix(".").removesuffix(f".{zone}")
    named = parse_dashed(name) if name.isascii() else None
    if named is not None:
        return named
    try:
        return Address.parse(text)
    except Problem:
        return None


def _address(text: str, zone: str) -> Question | None:
    address = parse_address(text, zone)
    return None if address is None else AboutAddress(address)


def _network(text: str, zone: str) -> Question | None:  # noqa: ARG001
    network = parse_network(text)
    return None if network is None else AboutNetwork(network)


def _holder(text: str, zone: str) -> Question | None:
    holder_id = parse_holder(text) or holder_of(text, zone)
    return None if holder_id is None else AboutHolder(holder_id)


def _host(text: str, zone: str) -> Question | None:  # noqa: ARG001
    name = parse_name(text)
    return None if name is None else AboutHost(name)


def _domain(text: str, zone: str) -> Question | None:  # noqa: ARG001
    name = parse_name(text)
    return None if name is None else AboutDomain(name)


_WORDS: Final[dict[str, Callable[[str, str], Question | None]]] = {
    "address": _address,
    "network": _network,
    "prefix": _network,
    "host": _host,
    "domain": _domain,
    "holder": _holder,
}
