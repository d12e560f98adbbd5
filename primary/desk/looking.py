"""Looks at everything that a mail server is judged by, all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.resolving import Resolvers
from primary.desk.greeting import SMTP_PORT, Greeting, read_greeting
from primary.registering.findings import Finding, Verdict, all_hold
from primary.registering.judging import (
    AddressSigns,
    Subject,
    judge_address,
    judge_domain,
    judge_forward,
    judge_ptr,
    judge_recovery,
    judge_zone,
)
from primary.registering.proof_records import domain_record_name, networks_of, pointer_name
from registry.address import Address
from registry.observations import Agreed

# A look takes a dozen lookups and a connection: so many at once load a resolver, and no more.
MAX_LOOKS: Final = 32
# A mail server that greets at once is waited for, before more is looked up in its place.
PROMPT_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Looker:
    """Looks by these resolvers, and at this port for greetings."""

    resolvers: Resolvers
    own_zones: Sequence[str]
    greeting_port: int = SMTP_PORT

    async def pointer(self, address: Address) -> Agreed:
        """The PTR record of an address."""
        return await self.resolvers.ask(pointer_name(address), "PTR")

    async def names(self, subject: Subject) -> list[Finding]:
        """Whether PTR, forward and zone hold."""
        type_ = "A" if subject.address.family == 4 else "AAAA"
        pointer, forward = await asyncio.gather(
            self.pointer(subject.address), self.resolvers.ask(subject.host, type_)
        )
        return [
            judge_ptr(subject, pointer),
            judge_forward(subject, forward),
            judge_zone(subject, self.own_zones),
        ]

    async def domain(self, subject: Subject) -> Finding:
        """Whether the domain lets the holder in."""
        return judge_domain(
            subject, await self.resolvers.ask(domain_record_name(subject.domain), "TXT")
        )

    async def server(self, subject: Subject, token: str, *, connected: bool) -> list[Finding]:
        """All that is asked of a mail server: its names, the domain, and last the address."""
        names, domain = await asyncio.gather(self.names(subject), self.domain(subject))
        # Nobody's port 25 is knocked at before its name leads to it, by whoever asks.
        if connected or all_hold(names):
            address = await self.address(subject, token, connected=connected)
        else:
            address = await self.address_unseen(subject, token)
        return [*names, domain, address]

    async def recovery(self, domain: str, holder_id: bytes, key_hash: bytes) -> Finding:
        """Whether the domain gives the holder the new key."""
        answer = await self.resolvers.ask(domain_record_name(domain), "TXT")
        return judge_recovery(domain, holder_id, key_hash, answer)

    async def network(self, subject: Subject) -> list[Agreed]:
        """The records of the networks around the address."""
        return await asyncio.gather(
            *(self.resolvers.ask(network.name, "TXT") for network in networks_of(subject.address))
        )

    async def address_unseen(self, subject: Subject, token: str) -> Finding:
        """What is to be done about the address, without a look at its port 25."""
        unseen = "not looked at before the names hold"
        networks = await self.network(subject)
        return judge_address(subject, AddressSigns(token, False, None, unseen, networks))

    async def address(self, subject: Subject, token: str, *, connected: bool) -> Finding:
        """Whether the address is the holder's; no more is asked than shows it."""
        if connected:
            return judge_address(subject, AddressSigns(token, True, None, "", ()))
        greeting = asyncio.create_task(read_greeting(subject.address, self.greeting_port))
        try:
            await asyncio.wait([greeting], timeout=PROMPT_SECONDS)
            if greeting.done():
                finding = judge_address(subject, _signs(token, greeting.result(), ()))
                if finding.verdict is Verdict.HELD:
                    return finding
            # The records of networks are half of all lookups, and few have any.
            networks = await self.network(subject)
            finding = judge_address(subject, _signs(token, Greeting(None), networks))
            if finding.verdict is Verdict.HELD:
                return finding
            return judge_address(subject, _signs(token, await greeting, networks))
        finally:
            greeting.cancel()


def _signs(token: str, greeting: Greeting, networks: Sequence[Agreed]) -> AddressSigns:
    return AddressSigns(token, False, greeting.text, greeting.detail, networks)
