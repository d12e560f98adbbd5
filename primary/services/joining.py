"""smtpnic.v1.Joining, for anyone with a token, and smtpnic.v1.Membership, for nodes."""

from __future__ import annotations

from typing import Final, NoReturn

import grpc

from node.admission import client_address, peer_address
from node.errors import StorageError
from node.grpc_calls import Context, abort_busy
from node.listener import Handlers, Service
from node.tls import peer_name
from primary.membership.reception import (
    REFUSALS_MS,
    CannotIssueError,
    Reception,
    TooManyRefusalsError,
)
from primary.membership.values import Asked
from primary.services.answers import CANNOT_WRITE, abort_with_problem
from primary.store.errors import StoreUnavailableError
from registry.errors import Problem
from registry.wire.v1 import joining_pb2 as pb

JOINING: Final[str] = pb.DESCRIPTOR.services_by_name["Joining"].full_name
MEMBERSHIP: Final[str] = pb.DESCRIPTOR.services_by_name["Membership"].full_name

_EXPECTED: Final = (
    Problem,
    TooManyRefusalsError,
    CannotIssueError,
    StoreUnavailableError,
    StorageError,
)


class JoiningService:
    """Both services."""

    def __init__(self, reception: Reception, announcing: Handlers) -> None:
        """`announcing` is what nodes call of Membership beside renewal."""
        self._reception = reception
        self._announcing = announcing

    def joining(self) -> Service:
        """The handlers for anyone."""
        return Service(
            JOINING,
            {
                "Join": grpc.unary_unary_rpc_method_handler(
                    self._join, pb.JoinRequest.FromString, pb.JoinResponse.SerializeToString
                ),
                "RenewEnded": grpc.unary_unary_rpc_method_handler(
                    self._renew_ended,
                    pb.RenewEndedRequest.FromString,
                    pb.RenewCertificateResponse.SerializeToString,
                ),
            },
        )

    def membership(self) -> Service:
        """The handlers for nodes."""
        handler = grpc.unary_unary_rpc_method_handler(
            self._renew,
            pb.RenewCertificateRequest.FromString,
            pb.RenewCertificateResponse.SerializeToString,
        )
        return Service(MEMBERSHIP, {"RenewCertificate": handler, **self._announcing})

    async def _join(self, request: pb.JoinRequest, context: Context) -> pb.JoinResponse:
        peer = context.peer()
        try:
            asked = Asked(request.name, tuple(request.names), b"", peer_address(peer))
            welcome = await self._reception.join(
                client_address(peer),
                request.secret,
                asked,
                request.certificate_request,
                request.cosigner,
            )
        except _EXPECTED as error:
            await _fail(context, error)
        return pb.JoinResponse(
            certificate=welcome.certificate,
            root=welcome.root,
            name=welcome.node.name,
            names=welcome.node.names,
            upstream=welcome.upstream,
            role=welcome.node.role.value,
        )

    async def _renew_ended(
        self, request: pb.RenewEndedRequest, context: Context
    ) -> pb.RenewCertificateResponse:
        try:
            certificate = await self._reception.renew_ended(
                client_address(context.peer()), request.name, request.certificate_request
            )
        except _EXPECTED as error:
            await _fail(context, error)
        return pb.RenewCertificateResponse(certificate=certificate)

    async def _renew(
        self, request: pb.RenewCertificateRequest, context: Context
    ) -> pb.RenewCertificateResponse:
        name = peer_name(context.auth_context()) or ""
        try:
            certificate = await self._reception.renew(name, request.certificate_request)
        except _EXPECTED as error:
            await _fail(context, error)
        return pb.RenewCertificateResponse(certificate=certificate)


async def _fail(context: Context, error: Exception) -> NoReturn:
    match error:
        case Problem():
            await abort_with_problem(context, error)
        case TooManyRefusalsError():
            await abort_busy(context, str(error), REFUSALS_MS)
        case CannotIssueError():
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        case _:
            await context.abort(grpc.StatusCode.UNAVAILABLE, CANNOT_WRITE)
