"""TryPorts: a mirror hears what the primary sees of its ports."""

from __future__ import annotations

from typing import Final

import grpc

from node.endpoint import MAX_PORT
from node.grpc_calls import Context, abort_busy
from node.listener import Handlers
from node.tls import peer_name
from primary.rotation.trying import Ports, PortTrier, Service, TooSoonError
from primary.services.answers import abort_with_problem
from registry.errors import Problem
from registry.wire.v1 import joining_pb2 as pb

_SERVICES: Final = {
    Service.DNS_UDP: pb.TRIED_SERVICE_DNS_UDP,
    Service.DNS_TCP: pb.TRIED_SERVICE_DNS_TCP,
    Service.LOG: pb.TRIED_SERVICE_LOG,
    Service.MIRROR: pb.TRIED_SERVICE_MIRROR,
}


class Trying:
    """For the event loop's thread only."""

    def __init__(self, trier: PortTrier) -> None:
        self._trier = trier

    def handlers(self) -> Handlers:
        """The handler of Membership's method."""
        return {
            "TryPorts": grpc.unary_unary_rpc_method_handler(
                self._try, pb.TryPortsRequest.FromString, pb.TryPortsResponse.SerializeToString
            )
        }

    async def _try(self, request: pb.TryPortsRequest, context: Context) -> pb.TryPortsResponse:
        if max(request.log_port, request.mirror_port) > MAX_PORT:
            await abort_with_problem(context, Problem("request", "that is no port", "request"))
        name = peer_name(context.auth_context()) or ""
        try:
            found = await self._trier.tried(name, Ports(request.log_port, request.mirror_port))
        except TooSoonError as error:
            await abort_busy(context, str(error), round(error.seconds * 1000))
        return pb.TryPortsResponse(
            tried=[
                pb.Tried(
                    service=_SERVICES[one.service],
                    at=one.at,
                    problem=one.problem,
                    untried=one.untried,
                )
                for one in found
            ]
        )
