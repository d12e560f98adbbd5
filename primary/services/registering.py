"""Registering over gRPC: what is asked of the desk, and what it says."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final
from urllib.parse import unquote

import grpc
from google.protobuf.message import Message

from node.grpc_calls import Context
from node.listener import Service
from primary.desk.desk import Desk
from primary.desk.terms import Ask, Report
from primary.metrics import PrimaryMetrics
from primary.registering.findings import Finding, Verdict
from primary.registering.quotas import ranges_of
from primary.registering.schedule import TRIAL_MS
from primary.services.answers import abort_unchanged
from primary.services.conversion import contact_values
from registry.address import Address
from registry.errors import Problem, RegistryError
from registry.wire.v1 import registering_pb2 as pb
from registry.wire.v1 import registration_pb2

NAME: Final[str] = pb.DESCRIPTOR.services_by_name["Registering"].full_name
BUSY_MS: Final = 1000

_VERDICTS: Final = {
    Verdict.HELD: pb.VERDICT_HELD,
    Verdict.FAILED: pb.VERDICT_FAILED,
    Verdict.UNKNOWN: pb.VERDICT_UNKNOWN,
}

_Call = Callable[[Any, Context], Awaitable[Message]]


class RegisteringService:
    """smtpnic.v1.Registering."""

    def __init__(self, desk: Desk, metrics: PrimaryMetrics) -> None:
        self._desk = desk
        self._metrics = metrics

    def service(self) -> Service:
        """The handlers."""
        return Service(
            NAME,
            {
                "GetTerms": self._handler(self._get_terms, pb.GetTermsRequest),
                "Begin": self._handler(self._begin, pb.BeginRequest),
                "BeginContact": self._handler(self._begin_contact, pb.BeginContactRequest),
                "BeginRecovery": self._handler(self._begin_recovery, pb.BeginRecoveryRequest),
                "Check": self._handler(self._check, pb.CheckRequest),
                "Cancel": self._handler(self._cancel, pb.CheckRequest),
                "ProveAddress": self._handler(self._prove_address, pb.ProveAddressRequest),
                "ConfirmEmail": self._handler(self._confirm_email, pb.ConfirmEmailRequest),
            },
        )

    async def _get_terms(self, _request: pb.GetTermsRequest, _context: Context) -> pb.Terms:
        terms = self._desk.terms
        return pb.Terms(
            proofs=terms.proofs,
            relay=terms.relay,
            pending_ms=terms.pending_ms,
            trial_ms=TRIAL_MS,
        )

    async def _begin(self, request: pb.BeginRequest, context: Context) -> pb.ApplicationView:
        ask = Ask(
            request.holder_id,
            request.management_key,
            Address.parse(request.address),
            request.host,
            request.domain,
            contact_values(request.contact),
            client_of(context.peer()),
        )
        return _view(await self._desk.begin(ask))

    async def _begin_contact(
        self, request: pb.BeginContactRequest, _context: Context
    ) -> pb.ApplicationView:
        contact = contact_values(request.contact)
        return _view(
            await self._desk.begin_contact(request.holder_id, request.management_key, contact)
        )

    async def _begin_recovery(
        self, request: pb.BeginRecoveryRequest, _context: Context
    ) -> pb.ApplicationView:
        return _view(
            await self._desk.begin_recovery(
                request.holder_id, request.management_key, request.domain
            )
        )

    async def _check(self, request: pb.CheckRequest, _context: Context) -> pb.ApplicationView:
        return _view(await self._desk.check(request.application_id, request.management_key))

    async def _cancel(self, request: pb.CheckRequest, _context: Context) -> pb.CancelResponse:
        await self._desk.cancel(request.application_id, request.management_key)
        return pb.CancelResponse()

    async def _prove_address(
        self, request: pb.ProveAddressRequest, context: Context
    ) -> pb.ProveAddressResponse:
        source = source_of(context.peer())
        await self._desk.prove_address(request.token, source)
        return pb.ProveAddressResponse(address=str(source))

    async def _confirm_email(
        self, request: pb.ConfirmEmailRequest, _context: Context
    ) -> pb.ConfirmEmailResponse:
        application = await self._desk.confirm_email(request.token)
        return pb.ConfirmEmailResponse(
            purpose=pb.Purpose.ValueType(application.purpose),
            address=str(application.address or ""),
            host=application.host,
        )

    def _handler(self, call: _Call, request_type: type[Any]) -> grpc.RpcMethodHandler[Any, Any]:
        async def handle(request: Any, context: Context) -> bytes:
            try:
                return (await call(request, context)).SerializeToString()
            except RegistryError as error:
                if isinstance(error, Problem):
                    self._metrics.refused.labels(error.code).inc()
                await abort_unchanged(context, error, BUSY_MS)

        return grpc.unary_unary_rpc_method_handler(handle, request_type.FromString)


def source_of(peer: str) -> Address:
    """The address in gRPC's name of a peer; Problem "address" for one without."""
    family, _, rest = peer.partition(":")
    if family not in ("ipv4", "ipv6"):
        raise Problem("address", "an address is shown over TCP, from that address", "address")
    host = unquote(rest).rpartition(":")[0].strip("[]").partition("%")[0]
    found = ipaddress.ip_address(host)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return Address((mapped or found).packed)


def client_of(peer: str) -> str:
    """Whom a quota of clients counts: an IPv4 address, or a /64; empty for who is on this machine.

    RFC 6177, 2: a site has a /64 at least.
    """
    if peer.startswith("unix:"):
        return ""
    source = source_of(peer)
    return str(source) if source.family == 4 else ranges_of(source)[0].text


def _view(report: Report) -> pb.ApplicationView:
    application = report.application
    view = pb.ApplicationView(
        application_id=application.application_id,
        purpose=pb.Purpose.ValueType(application.purpose),
        holder_id=application.holder_id,
        address=str(application.address or ""),
        host=application.host,
        domain=application.domain,
        expires_ms=application.expires_ms,
        address_token=application.address_token,
        findings=_findings(report.findings),
    )
    if report.index is not None:
        view.receipt.CopyFrom(
            registration_pb2.Receipt(index=report.index, checkpoint=report.checkpoint)
        )
    return view


def _findings(findings: Iterable[Finding]) -> list[pb.Finding]:
    return [
        pb.Finding(
            condition=finding.condition,
            verdict=_VERDICTS[finding.verdict],
            found=finding.found,
            expected=finding.expected,
            mend=finding.mend,
            note=finding.note,
        )
        for finding in findings
    ]
