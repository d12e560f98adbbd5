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
CONTACT: Final = (
    ContactValue(ContactField.NAME, "Example Mail", True),
    ContactValue(ContactField.EMAIL, "postmaster@example.org", True),
    ContactValue(ContactField.TELEPHONE, "+12025550123", False),
)


def primary_of(cluster: Cluster) -> Primary:
    """The registration service of a cluster's primary."""
    endpoint = Endpoint.parse(cluster.public)
    authority = cluster.ca.read_bytes()
    return Primary(Connection(endpoint, authority, "", CALL_SECONDS, 1, Random(0)))


@dataclass
class Registrant:
    """One holder, and addresses that it has not registered yet."""

    key: HolderKey = field(default_factory=HolderKey.generate)
    source: Iterator[str] = field(default_factory=addresses)

    def single(self, count: int) -> list[bytes]:
        """`count` encoded requests, each to register one address, with an idempotency key."""
        return [
            pb.RegisterRequest(
                options=pb.ChangeOptions(idempotency_key=os.urandom(16)),
                holder_id=self.key.holder_id,
                management_key=self.key.management_key,
                address=address,
                host=host_of(address),
                domain=DOMAIN,
            ).SerializeToString()
            for address in islice(self.source, count)
        ]

    def bulk(self, requests: int, changes: int) -> list[pb.SubmitRequest]:
        """`requests` requests to register `changes` addresses each."""
        return [
            pb.SubmitRequest(
                changes=[
                    pb.Change(register=pb.RegisterRequest.FromString(single))
                    for single in self.single(changes)
                ]
            )
            for _ in range(requests)
        ]


def host_of(address: str) -> str:
    """The host name under which the benchmarks register an address."""
    return f"mx-{address.replace('.', '-')}.{DOMAIN}"
