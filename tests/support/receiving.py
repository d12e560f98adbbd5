"""The clients that meet a receiving mail server in the tests, and the registry it asks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import dns.message
import dns.query
import dns.rcode

from lab.asking import dns_name
from lab.cluster import ZONE
from tests.support.registrant import Registrant
from tests.support.switched_resolver import SwitchedResolver
from tests.support.wait import wait_until

ROOT: Final = Path(__file__).parents[2]
RECEIVERS: Final = ROOT / "receivers"
# `scripts/isolate` leaves it where nothing can be harmed.
MARK: Final = Path("/run/smtpnic-isolated")

HOST: Final = "mx.receiver.example"
RECIPIENT: Final = f"root@{HOST}"
POSTMASTER: Final = f"postmaster@{HOST}"
# The one recipient that needs no domain (RFC 5321, 4.5.1), in any case (2.3.5).
BARE_POSTMASTER: Final = "Postmaster"

# Where clients connect to: the server's own address.
SERVER: Final = "127.0.0.1"
SERVER_IPV6: Final = "::1"

# Global addresses, since those of documentation are not in the reversed zones. Within the
# isolation there is nobody else who has them.
REGISTERED_IPV4: Final = "11.0.0.25"
UNREGISTERED_IPV4: Final = "11.0.0.26"
REGISTERED_IPV6: Final = "2a00:1:2:3::25"
UNREGISTERED_IPV6: Final = "2a00:1:2:3::26"
REGISTERED: Final = (REGISTERED_IPV4, REGISTERED_IPV6)
CLIENTS: Final = (*REGISTERED, UNREGISTERED_IPV4, UNREGISTERED_IPV6)
# An address of the receiver's own network, unregistered.
OWN_NETWORK: Final = "11.9.0.7"

# What everyone who is refused has to read.
DENIED: Final = "communication denied"
REGISTER_AT: Final = "https://smtpnic.org/"


@dataclass(frozen=True)
class Registry:
    """A registrant of the running cluster, the resolver that mail servers ask, and our DNS."""

    registrant: Registrant
    resolver: SwitchedResolver
    dns: tuple[str, int]

    def register(self, address: str) -> None:
        """Registers it, and waits until DNS knows."""
        self.registrant.register(address)
        wait_until(lambda: self.exists(address), seconds=10, what=f"{address} registered")

    def withdraw(self, address: str) -> None:
        """Withdraws it, and waits until DNS knows."""
        self.registrant.withdraw(address)
        wait_until(lambda: not self.exists(address), seconds=10, what=f"{address} withdrawn")

    def exists(self, address: str) -> bool:
        """Whether our DNS server has its name."""
        query = dns.message.make_query(dns_name(address, ZONE), "TXT")
        response = dns.query.udp(query, self.dns[0], timeout=2, port=self.dns[1])
        return response.rcode() == dns.rcode.NOERROR
