"""The primary's service for who registers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from registry.contact import ContactValue
from registry.wire.v1 import registering_pb2 as pb
from registry.wire.v1 import registering_pb2_grpc
from smtpnic.client.connection import Connection, Server
from smtpnic.client.primary import contact_messages
from smtpnic.client.source import SourceTunnel
from smtpnic.errors import UnreachableError
from smtpnic.holder_key import HolderKey
from smtpnic.views import ApplicationView, FindingView, Receipt

_VERDICTS = {
    pb.VERDICT_HELD: "held",
    pb.VERDICT_FAILED: "failed",
    pb.VERDICT_UNKNOWN: "unknown",
}


class Registering(Server):
    """The primary's service for who registers. Every call may be repeated."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._stub = registering_pb2_grpc.RegisteringStub(self._channel)

    def asks_for_proofs(self) -> bool:
        """Whether anyone has to show anything before it registers."""
        return self._connection.call(self._stub.GetTerms, pb.GetTermsRequest()).proofs

    def begin(
        self,
        key: HolderKey,
        address: str,
        host: str,
        domain: str,
        contact: Iterable[ContactValue],
    ) -> ApplicationView:
        """Applies for a mail server, or goes on with that."""
        request = pb.BeginRequest(
            holder_id=key.holder_id,
            management_key=key.management_key,
            address=address,
            host=host,
            domain=domain,
            contact=contact_messages(contact),
        )
        return _view(self._connection.call(self._stub.Begin, request))

    def begin_contact(self, key: HolderKey, contact: Iterable[ContactValue]) -> ApplicationView:
        """Applies for another contact."""
        request = pb.BeginContactRequest(
            holder_id=key.holder_id,
            management_key=key.management_key,
            contact=contact_messages(contact),
        )
        return _view(self._connection.call(self._stub.BeginContact, request))

    def begin_recovery(self, key: HolderKey, domain: str) -> ApplicationView:
        """Applies for this key to be the holder's."""
        request = pb.BeginRecoveryRequest(
            holder_id=key.holder_id, management_key=key.management_key, domain=domain
        )
        return _view(self._connection.call(self._stub.BeginRecovery, request))

    def check(self, application_id: bytes, key: HolderKey) -> ApplicationView:
        """Has the registry look again."""
        request = pb.CheckRequest(application_id=application_id, management_key=key.management_key)
        return _view(self._connection.call(self._stub.Check, request))

    def confirm_email(self, token: str) -> str:
        """Confirms a mailbox; the mail server that it was for, empty if none."""
        answer = self._connection.call(self._stub.ConfirmEmail, pb.ConfirmEmailRequest(token=token))
        return answer.address

    def prove_address(self, token: str) -> str:
        """Shows where this connection comes from; that address."""
        answer = self._connection.call(self._stub.ProveAddress, pb.ProveAddressRequest(token=token))
        return answer.address


def prove_from(connection: Connection, source: str, token: str) -> str:
    """Shows the registry that a connection can come from `source`; what it saw.

    UnreachableError, with the reason, when this machine cannot connect from there.
    """
    with SourceTunnel(connection.endpoint, source) as tunnel:
        name = connection.server_name or connection.endpoint.host
        through = replace(connection, through=tunnel.target, server_name=name)
        try:
            with Registering(through) as registering:
                return registering.prove_address(token)
        except UnreachableError:
            if not tunnel.failure:
                raise
            raise UnreachableError(
                f"{connection.endpoint} cannot be reached from {source} ({tunnel.failure}): run "
                "this on the machine that has the address"
            ) from None


def _view(message: pb.ApplicationView) -> ApplicationView:
    receipt = message.receipt if message.HasField("receipt") else None
    return ApplicationView(
        message.application_id,
        message.holder_id,
        message.address,
        message.host,
        message.domain,
        message.expires_ms,
        message.address_token,
        tuple(
            FindingView(
                found.condition,
                _VERDICTS.get(found.verdict, "unknown"),
                found.found,
                found.expected,
                found.mend,
                found.note,
            )
            for found in message.findings
        ),
        Receipt(receipt.index, receipt.checkpoint) if receipt else None,
    )
