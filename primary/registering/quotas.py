"""How many mail servers one domain, mailbox or network may have; beyond it the person has to ask.

What is only applied for counts in none of these: nobody can fill another's quota with words.

The numbers of mail servers are settings, until the board sets them as policies.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from registry.address import Address
from registry.errors import Problem
from registry.root import Policies


class Scope(StrEnum):
    """What a quota counts within."""

    DOMAIN = "domain"
    EMAIL = "email"
    IPV4_24 = "/24"
    IPV6_64 = "/64"
    IPV6_48 = "/48"
    # Letters of one mailbox that nobody has answered: the registry is no tool to pester people.
    UNCONFIRMED = "unconfirmed"
    # Letters that one network or one holder causes in a week, answered or not.
    LETTERS = "letters"
    # Applications that one client begins in an hour and does not finish at once, those of an IPv6
    # site, and those that wait in all.
    CLIENT = "client"
    SITE = "site"
    PENDING = "pending"


_FIELDS: Final = {
    Scope.DOMAIN: "domain",
    Scope.EMAIL: "email",
    Scope.UNCONFIRMED: "email",
    Scope.LETTERS: "email",
    Scope.CLIENT: "",
    Scope.SITE: "",
    Scope.PENDING: "",
}
_ADVICE: Final = {
    Scope.UNCONFIRMED: "{count} letters to {what} wait to be answered; answer them, or wait a week",
    Scope.LETTERS: "{what} has caused {count} letters within a week; wait for the next",
    Scope.CLIENT: "{what} has begun {count} applications within an hour that were not all shown "
    "at once; go on with those, and begin others in an hour",
    Scope.PENDING: "{count} applications wait, and no more are taken now; try again in an hour",
}
_ADVICE[Scope.SITE] = _ADVICE[Scope.CLIENT]
# A /48 is one site's, and has 65,536 networks of a client each (RFC 6177).
CLIENTS_A_SITE: Final = 4
_SERVERS: Final = (
    "{what} has {count} registrations, and may have {most}; withdraw some, show by a TXT record in "
    "the reverse zone that the network is yours, or ask the board"
)


@dataclass(frozen=True, slots=True)
class Quotas:
    """The most in each scope."""

    per_domain: int = 1000
    per_email: int = 1000
    per_ipv4_24: int = 64
    per_ipv6_64: int = 8
    per_ipv6_48: int = 64
    unconfirmed_per_email: int = 5
    letters: int = 64
    per_client: int = 1000
    pending: int = 100_000

    def of(self, scope: Scope) -> int:
        """The quota of a scope."""
        return {
            Scope.DOMAIN: self.per_domain,
            Scope.EMAIL: self.per_email,
            Scope.IPV4_24: self.per_ipv4_24,
            Scope.IPV6_64: self.per_ipv6_64,
            Scope.IPV6_48: self.per_ipv6_48,
            Scope.UNCONFIRMED: self.unconfirmed_per_email,
            Scope.LETTERS: self.letters,
            Scope.CLIENT: self.per_client,
            Scope.SITE: self.per_client * CLIENTS_A_SITE,
            Scope.PENDING: self.pending,
        }[scope]


def decided(quotas: Quotas, policies: Policies) -> Quotas:
    """What the board has set goes before what the settings say."""
    told = {
        "per_domain": policies.registrations_per_domain,
        "per_email": policies.registrations_per_email,
        "per_ipv4_24": policies.registrations_per_ipv4_24,
        "per_ipv6_64": policies.registrations_per_ipv6_64,
        "per_ipv6_48": policies.registrations_per_ipv6_48,
    }
    return replace(quotas, **{name: most for name, most in told.items() if most})


@dataclass(frozen=True, slots=True)
class Range:
    """A network as its first and last address."""

    scope: Scope
    text: str
    first: Address
    last: Address


def ranges_of(address: Address) -> tuple[Range, ...]:
    """The networks around an address that have quotas."""
    if address.family == 4:
        return (_range(address, 24, Scope.IPV4_24),)
    return (_range(address, 64, Scope.IPV6_64), _range(address, 48, Scope.IPV6_48))


def scopes_of(client: str) -> tuple[tuple[Scope, str], ...]:
    """Where an application of this client counts: an address of IPv4, or a /64 and its /48."""
    if "/" not in client:
        return ((Scope.CLIENT, client),)
    site = ipaddress.ip_network(client).supernet(new_prefix=48)
    return (Scope.CLIENT, client), (Scope.SITE, str(site))


def check_quota(quotas: Quotas, scope: Scope, what: str, count: int) -> None:
    """Problem "quota" if there is no room for one more; `count` is of the others."""
    most = quotas.of(scope)
    if count < most:
        return
    message = _ADVICE.get(scope, _SERVERS).format(what=what, count=count, most=most)
    raise Problem("quota", message, _FIELDS.get(scope, "address"))


def _range(address: Address, length: int, scope: Scope) -> Range:
    network = ipaddress.ip_network((address.packed, length), strict=False)
    first, last = network[0].packed, network[-1].packed
    return Range(scope, str(network), Address(first), Address(last))
