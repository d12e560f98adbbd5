"""One point of the checklist, what it is asked of, and what came out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import dns.name

from registry.address import Address

if TYPE_CHECKING:
    from smtpnic.dns_check.asker import Asker


class Scope(StrEnum):
    """Of which servers a point may be asked."""

    GENERIC = "generic"
    # What the registry's zones hold, and policies that other servers may not share.
    REGISTRY = "registry"


class Verdict(StrEnum):
    """What came out."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    NOT_APPLICABLE = "not applicable"


class Deviation(Exception):  # noqa: N818 - an answer, not an error
    """The server did something else than the point asks for."""

    def __init__(self, expected: str, came: str) -> None:
        super().__init__(f"expected {expected}; came {came}")
        self.expected = expected
        self.came = came


class NotApplicable(Exception):  # noqa: N818 - not an error
    """The point cannot be asked here; the text says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the server is expected to serve; None where it does not, or nobody knows."""

    zone: dns.name.Name
    list_zone: dns.name.Name | None = None
    unlisted_zone: dns.name.Name | None = None
    registered: Address | None = None
    # Only the points that any authoritative server shares.
    generic: bool = False

    def require_registered(self) -> Address:
        """The registered address; NotApplicable says how to give it."""
        if self.registered is None:
            raise NotApplicable("give --registered")
        return self.registered

    def require_list_zone(self) -> dns.name.Name:
        """The list zone; NotApplicable if the server is not expected to serve it."""
        if self.list_zone is None:
            raise NotApplicable("no list zone here")
        return self.list_zone

    def require_unlisted_zone(self) -> dns.name.Name:
        """The unlisted zone; NotApplicable if the server is not expected to serve it."""
        if self.unlisted_zone is None:
            raise NotApplicable("no unlisted zone here")
        return self.unlisted_zone


# Gives what came, in a few words; raises Deviation or NotApplicable.
Check = Callable[["Asker", Target], str]


@dataclass(frozen=True, slots=True)
class Point:
    """One thing to ask. `reference` is the RFC and section; `promise` one line, what must hold."""

    name: str
    reference: str
    promise: str
    check: Check
    scope: Scope = Scope.GENERIC
    # Points without which this one would fail for their reason, and not for one of its own.
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What came out of a point. `why`: what came, what was expected, or why it was not asked."""

    point: Point
    verdict: Verdict
    why: str
