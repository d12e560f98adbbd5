"""What mirrors are asked, and whether what they answer is the truth.

Questions are drawn anew in each round, so that nobody can answer them alone and lie otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from registry.address import Address
from registry.label import dashed

# What may come back in one datagram (DNS flag day 2020); an honest answer has some hundred bytes.
MAX_ANSWER_BYTES: Final = 1232


@dataclass(frozen=True, slots=True)
class Question:
    """About one address: whether the register lists it."""

    address: Address
    is_listed: bool
    zone: str

    @property
    def query(self) -> bytes:
        """The DNS message, with an identifier of its own."""
        return dns.message.make_query(self.name, self._type, flags=0).to_wire()

    @property
    def name(self) -> str:
        """The name that is asked for."""
        return f"{dashed(self.address)}.{self.zone}."

    @property
    def _type(self) -> str:
        return "A" if self.address.family == 4 else "AAAA"

    def fault(self, answer: bytes) -> str:
        """What is wrong with an answer; empty if it is the truth."""
        try:
            # A longer one is cut, and then is no message.
            message = dns.message.from_wire(answer[:MAX_ANSWER_BYTES])
        except dns.exception.DNSException as error:
            return f"{self.name}: no DNS message ({type(error).__name__})"
        rcode = dns.rcode.to_text(message.rcode())
        asked = [(each.name.to_text(), each.rdtype) for each in message.question]
        if not message.flags & dns.flags.QR or asked != [
            (self.name, dns.rdatatype.from_text(self._type))
        ]:
            return f"{self.name}: an answer to something else"
        if message.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return f"{self.name}: {rcode}"
        if not message.flags & dns.flags.AA:
            return f"{self.name}: not authoritative"
        found = [data.to_text() for each in message.answer for data in each]
        expected = [str(self.address)] if self.is_listed else []
        if found != expected or (message.rcode() == dns.rcode.NXDOMAIN) == self.is_listed:
            said = ", ".join(found) or rcode
            return f"{self.name}: {said}, and the register says {expected or 'NXDOMAIN'}"
        return ""
