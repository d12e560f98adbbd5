"""A gRPC server of one method that takes and gives plain bytes, on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import grpc

from bench.http2 import Target
from node.tls import server_credentials
from primary.pki import Authority, Names

SERVICE = "test.Echo"
METHOD = f"/{SERVICE}/Call"

Answer = Callable[[bytes, grpc.ServicerContext], bytes]


def echo(message: bytes, _context: grpc.ServicerContext) -> bytes:
    """The message itself."""
    return message


@contextmanager
def serve_unary(answer: Answer, tls_directory: Path | None = None) -> Iterator[Target]:
    """Where `answer` is served; with TLS if there is a directory for the CA's certificate."""
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(answer)
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(SERVICE, {"Call": handler})]
        )
        if tls_directory is None:
            authority, port = None, server.add_insecure_port("127.0.0.1:0")
        else:
            authority = tls_directory / "ca.pem"
            port = server.add_secure_port("127.0.0.1:0", _credentials(authority))
        server.start()
        try:
            yield Target("127.0.0.1", port, METHOD, authority)
        finally:
            server.stop(None).wait()


def _credentials(ca: Path) -> grpc.ServerCredentials:
    now = datetime.now(UTC)
    authority = Authority.create("test", now)
    ca.write_bytes(authority.identity.certificate)
    return server_credentials(authority.issue_server(Names.parse([], ["127.0.0.1"]), now))
