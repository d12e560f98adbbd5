"""A holder, and the requests with which it registers: made before anything is measured."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from typing import Final

from lab.cluster import Cluster
from lab.people import addresses
from node.endpoint import Endpoint
from registry.contact import ContactValue
from registry.kinds import ContactField
from registry.wire.v1 import registration_pb2 as pb
from smtpnic.client import Connection, Primary
from smtpnic.holder_key import HolderKey

CALL_SECONDS: Final = 30.0
DOMAIN: Final = "customers.example"
IDEMPOTENCY_KEY_BYTES: Final = 16
CONTACT: Final = (
    ContactValue(ContactField.NAME, "Example Mail", True),
    ContactValue(ContactField.POSTAL_ADDRESS, "1 Example Street, Exampleton", False),
    ContactValue(ContactField.EMAIL, "postmaster@example.org", True),
    ContactValue(ContactField.TELEPHONE, "+12025550123", False),
)


def primary_of(cluster: Cluster) -> Primary:
    """The registration service of a cluster's primary."""
    endpoint = Endpoint.parse(cluster.public)
    authority = cluster.ca.read_bytes()
    return Primary(Connection(endpoint, authority, "", CALL_SECONDS, 1, Random(0)))


def unused_addresses() -> Iterator[str]:
    """Addresses that `lab.people.addresses` does not give, for whoever comes after it."""
    return (f"11.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in range(1 << 24))


@dataclass
class Registrant:
    """One holder, and addresses that it has not registered yet."""

    key: HolderKey = field(default_factory=HolderKey.generate)
    source: Iterator[str] = field(default_factory=addresses)

    def single(self, count: int) -> list[bytes]:
        """`count` encoded requests to register one address each, with an idempotency key."""
        encoded: list[bytes] = []
        for address in islice(self.source, count):
            request = self._register(address)
            request.options.idempotency_key = os.urandom(IDEMPOTENCY_KEY_BYTES)
            encoded.append(request.SerializeToString())
        return encoded

    def bulk(self, requests: int, changes: int) -> list[bytes]:
        """`requests` encoded requests of `changes` registrations each, as an import makes them.

        Without idempotency keys: an import that is broken off registers the same again, and
        hears that nothing changed.
        """
        encoded: list[bytes] = []
        for _ in range(requests):
            request = pb.SubmitRequest()
            for address in islice(self.source, changes):
                request.changes.add(register=self._register(address))
            encoded.append(request.SerializeToString())
        return encoded

    def _register(self, address: str) -> pb.RegisterRequest:
        return pb.RegisterRequest(
            holder_id=self.key.holder_id,
            management_key=self.key.management_key,
            address=address,
            host=host_of(address),
            domain=DOMAIN,
        )


def host_of(address: str) -> str:
    """The host name under which the benchmarks register an address."""
    return f"mx-{address.replace('.', '-')}.{DOMAIN}"
