"""How many mail servers one domain, mailbox or network may have; beyond it the person has to ask.

The numbers are settings now, and will be the root's policy.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from registry.address import Address
from registry.errors import Problem


class Scope(StrEnum):
    """What a quota counts within."""

    DOMAIN = "domain"
    EMAIL = "email"
    IPV4_24 = "/24"
    IPV6_64 = "/64"
    IPV6_48 = "/48"
    # Letters of one mailbox that nobody has answered: the registry is no tool to pester people.
    UNCONFIRMED = "unconfirmed"


_FIELDS: Final = {Scope.DOMAIN: "domain", Scope.EMAIL: "email", Scope.UNCONFIRMED: "email"}


@dataclass(frozen=True, slots=True)
class Quotas:
    """The most registrations, pending ones included, in each scope."""

    per_domain: int = 1000
    per_email: int = 1000
    per_ipv4_24: int = 64
    per_ipv6_64: int = 8
    per_ipv6_48: int = 64
    unconfirmed_per_email: int = 5

    def of(self, scope: Scope) -> int:
        """The quota of a scope."""
        return {
            Scope.DOMAIN: self.per_domain,
            Scope.EMAIL: self.per_email,
            Scope.IPV4_24: self.per_ipv4_24,
            Scope.IPV6_64: self.per_ipv6_64,
            Scope.IPV6_48: self.per_ipv6_48,
            Scope.UNCONFIRMED: self.unconfirmed_per_email,
        }[scope]


@dataclass(frozen=True, slots=True)
class Range:
    """A network as its first and last address."""

    scope: Scope
    text: str
    first: Address
    last: Address


# Mailboxes that are remembered at once; beyond that the longest known are forgotten.
MAX_MAILBOXES: Final = 100_000


@dataclass(slots=True)
class UnansweredLetters:
    """Counts the letters to each mailbox since it last answered, whatever became of their cause.

    Of those that began more than `window_ms` ago none counts.
    """

    window_ms: int
    _windows: OrderedDict[str, tuple[int, int]] = field(default_factory=OrderedDict)

    def count(self, mailbox: str, now_ms: int) -> int:
        """How many wait for an answer. In capitals or not, it is one mailbox nearly always."""
        started_ms, count = self._windows.get(mailbox.casefold(), (now_ms, 0))
        return count if now_ms - started_ms < self.window_ms else 0

    def add(self, mailbox: str, now_ms: int) -> None:
        """One more letter goes there."""
        name, count = mailbox.casefold(), self.count(mailbox, now_ms)
        started_ms = self._windows[name][0] if count else now_ms
        self._windows[name] = (started_ms, count + 1)
        self._windows.move_to_end(name)
        if len(self._windows) > MAX_MAILBOXES:
            self._windows.popitem(last=False)

    def answered(self, mailbox: str) -> None:
        """Somebody there reads them."""
        self._windows.pop(mailbox.casefold(), None)


def ranges_of(address: Address) -> tuple[Range, ...]:
    """The networks around an address that have quotas."""
    if address.family == 4:
        return (_range(address, 24, Scope.IPV4_24),)
    return (_range(address, 64, Scope.IPV6_64), _range(address, 48, Scope.IPV6_48))


def check_quota(quotas: Quotas, scope: Scope, what: str, count: int) -> None:
    """Problem "quota" if there is no room for one more; `count` is of the others."""
    most = quotas.of(scope)
    if count < most:
        return
    if scope is Scope.UNCONFIRMED:
        message = f"{count} letters to {what} wait to be answered; answer them, or wait a week"
    else:
        message = (
            f"{what} has {count} registrations, begun ones included, and may have {most}; withdraw "
            "some, show by a TXT record in the reverse zone that the network is yours, or ask the "
            "board"
        )
    raise Problem("quota", message, _FIELDS.get(scope, "address"))


def _range(address: Address, length: int, scope: Scope) -> Range:
    network = ipaddress.ip_network((address.packed, length), strict=False)
    first, last = network[0].packed, network[-1].packed
    return Range(scope, str(network), Address(first), Address(last))
