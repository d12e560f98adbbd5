"""A server that answers a registration without doing anything: the ceiling of gRPC here.

The same listener, TLS, messages and event loop as the primary's. Arguments: where to listen,
the directory of the primary's certificate, and how many bytes the answer's checkpoint has.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import grpc
import uvloop

from node.endpoint import Endpoint
from node.listener import Capacity, Listener, Service
from node.tls import Identity, server_credentials
from registry.wire.v1 import registration_pb2 as pb

CAPACITY = Capacity(connections=1000, calls=2000)
GRACE_SECONDS = 1.0


async def serve(endpoint: Endpoint, identity: Identity, checkpoint: bytes) -> None:
    """Answers until SIGTERM."""

    async def register(_request: pb.RegisterRequest, _context: Any) -> pb.ChangeResponse:
        return pb.ChangeResponse(receipt=pb.Receipt(index=1 << 20, checkpoint=checkpoint))

    handler = grpc.unary_unary_rpc_method_handler(
        register, pb.RegisterRequest.FromString, pb.ChangeResponse.SerializeToString
    )
    listener = Listener([Service("smtpnic.v1.Registry", {"Register": handler})], CAPACITY)
    listener.bind(endpoint, server_credentials(identity))
    await listener.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await listener.stop(GRACE_SECONDS)


def main() -> None:
    endpoint, directory, size = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    identity = Identity.load(directory / "server.pem", directory / "server.key")
    uvloop.run(serve(Endpoint.parse(endpoint), identity, bytes(size)))


if __name__ == "__main__":
    main()
