"""A registrant that talks to the primary over real TLS and remembers every acknowledgement."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from registry.wire.v1 import log_pb2, registration_pb2, registration_pb2_grpc

RPC_SECONDS = 10.0


@dataclass(frozen=True)
class Acknowledged:
    """A change the primary said it will never lose."""

    index: int
    address: str
    host: str
    checkpoint: bytes


@dataclass
class Registrant:
    """One holder and its registrations, made over one channel."""

    channel: grpc.Channel
    holder_id: bytes = field(default_factory=lambda: os.urandom(16))
    management_key: bytes = field(default_factory=lambda: os.urandom(32))
    acknowledged: list[Acknowledged] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stub = registration_pb2_grpc.RegistryStub(self.channel)

    def create_holder(self) -> int:
        """Creates the holder with a public name and e-mail; its index in the log."""
        contact = [
            registration_pb2.ContactValue(
                field=log_pb2.CONTACT_FIELD_NAME, value="Mail Example", public=True
            ),
            registration_pb2.ContactValue(
                field=log_pb2.CONTACT_FIELD_POSTAL_ADDRESS, value="1 Example Street", public=False
            ),
            registration_pb2.ContactValue(
                field=log_pb2.CONTACT_FIELD_EMAIL, value="postmaster@example.org", public=True
            ),
            registration_pb2.ContactValue(
                field=log_pb2.CONTACT_FIELD_TELEPHONE, value="+12025550123", public=False
            ),
        ]
        request = registration_pb2.CreateHolderRequest(
            options=registration_pb2.ChangeOptions(idempotency_key=self.holder_id),
            holder_id=self.holder_id,
            management_key=self.management_key,
            contact=contact,
        )
        return self.stub.CreateHolder(request, timeout=RPC_SECONDS).receipt.index

    def register(self, address: str, host: str = "mail.example.org") -> Acknowledged:
        """Registers one address; remembered only when the primary acknowledged it."""
        request = registration_pb2.RegisterRequest(
            options=registration_pb2.ChangeOptions(idempotency_key=os.urandom(16)),
            holder_id=self.holder_id,
            management_key=self.management_key,
            address=address,
            host=host,
            domain="example.org",
        )
        receipt = self.stub.Register(request, timeout=RPC_SECONDS).receipt
        done = Acknowledged(receipt.index, address, host, receipt.checkpoint)
        self.acknowledged.append(done)
        return done

    def withdraw(self, address: str) -> int:
        """Withdraws one address; the index of the delete."""
        request = registration_pb2.WithdrawRequest(
            holder_id=self.holder_id, management_key=self.management_key, address=address
        )
        return self.stub.Withdraw(request, timeout=RPC_SECONDS).receipt.index


def try_register(registrant: Registrant, address: str) -> bool:
    """Registers through a channel that may still be finding the primary again."""
    try:
        registrant.register(address)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    return True


def secure_channel(target: str, ca: Path, server_name: str = "localhost") -> grpc.Channel:
    """A TLS channel that trusts only `ca`."""
    credentials = grpc.ssl_channel_credentials(ca.read_bytes())
    options = [("grpc.ssl_target_name_override", server_name)]
    return grpc.secure_channel(target, credentials, options)


def addresses(prefix: str = "198.18") -> Iterator[str]:
    """Distinct addresses of the benchmarking block, for ever within a /16."""
    for number in itertools.count(1):
        yield f"{prefix}.{number >> 8 & 255}.{number & 255}"
