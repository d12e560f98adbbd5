"""What a mirror and the primary say to each other about the A record set."""

from __future__ import annotations

from dataclasses import dataclass

from registry.address import Address


@dataclass(frozen=True, slots=True)
class Probe:
    """A question for another mirror's DNS server."""

    number: int
    address: Address
    port: int
    query: bytes


@dataclass(frozen=True, slots=True)
class Probed:
    """What came back, or why nothing did."""

    number: int
    answer: bytes = b""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Tried:
    """What the primary saw of a port of this mirror: `problem` empty, that it answers.

    `untried` says why it did not look; `service` is what listens there, in words.
    """

    service: str
    at: str
    problem: str = ""
    untried: str = ""


@dataclass(frozen=True, slots=True)
class SetStanding:
    """How this mirror stands in the A record set; `heard_ms` since 1970, 0: nothing heard."""

    draining: bool = False
    admitted: bool = False
    places: tuple[str, ...] = ()
    reason: str = ""
    heard_ms: int = 0
