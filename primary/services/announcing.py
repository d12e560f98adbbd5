"""Announce: mirrors say where they answer and what they saw; they hear how they stand."""

from __future__ import annotations

from typing import Final

import grpc

from node.grpc_calls import Context
from node.listener import Handlers
from node.tls import peer_name
from primary.rotation.keeper import Heard, Keeper
from primary.services.answers import abort_with_problem
from registry.address import Address
from registry.errors import Problem
from registry.member import MAX_MEMBER_ADDRESSES, Announced
from registry.wire.v1 import joining_pb2 as pb

# Twice what is asked in a round.
MAX_PROBED: Final = 32


class Announcing:
    """For the event loop's thread only."""

    def __init__(self, keeper: Keeper, dns_port: int) -> None:
        self._keeper = keeper
        self._dns_port = dns_port

    def handlers(self) -> Handlers:
        """The handler of Membership's method."""
        return {
            "Announce": grpc.unary_unary_rpc_method_handler(
                self._announce, pb.AnnounceRequest.FromString, pb.AnnounceResponse.SerializeToString
            )
        }

    async def _announce(self, request: pb.AnnounceRequest, context: Context) -> pb.AnnounceResponse:
        name, keeper = peer_name(context.auth_context()) or "", self._keeper
        try:
            keeper.hear(name, _heard(request))
        except Problem as problem:
            await abort_with_problem(context, problem)
        for each in request.probed[:MAX_PROBED]:
            keeper.report(name, each.number, each.answer, each.problem[:200])
        member = keeper.members.get(name)
        return pb.AnnounceResponse(
            admitted=member is not None,
            places=member.places if member else (),
            reason=keeper.reasons.get(name, "the board has not admitted it"),
            probes=[
                pb.Probe(
                    number=number,
                    address=task.address.packed,
                    port=self._dns_port,
                    query=task.question.query,
                )
                for number, task in keeper.tasks(name).items()
            ],
        )


def _heard(request: pb.AnnounceRequest) -> Heard:
    if len(request.addresses) > MAX_MEMBER_ADDRESSES:
        raise Problem("addresses", f"at most {MAX_MEMBER_ADDRESSES} addresses", "addresses")
    try:
        addresses = tuple(map(Address, request.addresses))
    except ValueError as error:
        raise Problem("addresses", str(error), "addresses") from error
    announced = Announced(request.operator, request.region, addresses, request.nsid)
    return Heard(announced, request.draining)
