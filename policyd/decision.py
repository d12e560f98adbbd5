"""Who is accepted, advised, refused or asked to come back; pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Final

from node.finding import Finding, unmapped
from node.receiving import Mode, OnFailure
from policyd.settings import Network
from registry.address import Address
from registry.errors import Problem

POSTMASTER: Final = "postmaster"


class Outcome(StrEnum):
    """What becomes of a message."""

    ACCEPT = "accept"
    ADVISE = "advise"
    REFUSE = "refuse"
    TEMPFAIL = "tempfail"


@dataclass(frozen=True, slots=True)
class Client:
    """Who sends: its address as the mail server wrote it, the recipient, whether authenticated."""

    address: str
    recipient: str = ""
    is_authenticated: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """What a site does with mail of servers that are not registered."""

    mode: Mode
    on_failure: OnFailure
    register_at: str
    own_networks: tuple[Network, ...]

    def subject(self, client: Client) -> Address | None:
        """The address whose registration matters; None for who is exempt or has no address."""
        local_part = client.recipient.partition("@")[0]
        if client.is_authenticated or local_part.lower() == POSTMASTER:
            return None
        try:
            address = unmapped(Address.parse(client.address))
        except Problem:
            # Postfix says "unknown", or nothing, of a client on a UNIX socket.
            return None
        parsed = ip_address(address.packed)
        if any(parsed in network for network in self.own_networks):
            return None
        return address

    def outcome(self, finding: Finding, *, is_trusted: bool) -> Outcome:
        """What follows; while the registry itself is not trusted, nobody is refused or delayed."""
        if not is_trusted or finding is Finding.REGISTERED:
            return Outcome.ACCEPT
        if finding is Finding.FAILURE:
            is_delayed = self.mode is Mode.ENFORCE and self.on_failure is OnFailure.TEMPFAIL
            return Outcome.TEMPFAIL if is_delayed else Outcome.ACCEPT
        return Outcome.REFUSE if self.mode is Mode.ENFORCE else Outcome.ADVISE

    def refusal(self, address: Address) -> str:
        """What a client is told that is refused, after its code."""
        return (
            f"communication denied: {address} is no registered mail server, see {self.register_at}"
        )

    def advice(self, address: Address) -> str:
        """What a client is told whose mail is taken all the same."""
        return f"{address} is no registered mail server, please register it, see {self.register_at}"

    def delay(self, address: Address) -> str:
        """What a client is told while the registry cannot be asked, after its code."""
        return f"the registry of mail servers cannot be asked about {address} now, try again later"
