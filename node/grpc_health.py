"""grpc.health.v1 for whoever chooses among processes: SERVING means ready, as /readyz does.

In plain text on a port of its own: an orchestrator's probe knows neither TLS nor certificates.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1.health_pb2_grpc import HealthServicer, add_HealthServicer_to_server

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.http import Readiness
from node.limits import HANDSHAKE_MS, MAX_METADATA_BYTES, MAX_MONITORING_REQUESTS
from node.tls import SERVER_OPTIONS

# The name of a service, 63 bytes for each of its labels, and room.
MAX_REQUEST_BYTES: Final = 1024


class ReadinessServicer(HealthServicer):  # type: ignore[misc] # comes without types
    """Answers for the whole process, and for the services of the given names.

    There is no Watch: who wants to know later asks again.
    """

    def __init__(self, readiness: Readiness, *names: str) -> None:
        self._readiness = readiness
        self._names = {"", *names}

    def Check(  # noqa: N802 - the method's name on the wire
        self, request: pb.HealthCheckRequest, context: grpc.ServicerContext
    ) -> pb.HealthCheckResponse:
        """SERVING or NOT_SERVING; NOT_FOUND for a service that is not here."""
        if request.service not in self._names:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service here")
        states = pb.HealthCheckResponse
        status = states.NOT_SERVING if self._readiness() else states.SERVING
        return states(status=status)


class HealthServer:
    """Listens from construction on (ConfigurationError where it cannot), answers from `start`."""

    def __init__(self, endpoint: Endpoint, readiness: Readiness) -> None:
        self._server = grpc.server(
            ThreadPoolExecutor(2, "health"),
            options=[
                *SERVER_OPTIONS,
                ("grpc.max_allowed_incoming_connections", MAX_MONITORING_REQUESTS),
                ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
                ("grpc.max_metadata_size", MAX_METADATA_BYTES),
                ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
            ],
            maximum_concurrent_rpcs=MAX_MONITORING_REQUESTS,
        )
        add_HealthServicer_to_server(ReadinessServicer(readiness), self._server)
        try:
            port = self._server.add_insecure_port(str(endpoint))
        except RuntimeError as error:
            raise ConfigurationError(f"cannot listen on {endpoint}: {error}") from None
        self.endpoint = Endpoint(endpoint.host, port)

    def start(self) -> None:
        """Begins to answer."""
        self._server.start()

    def close(self) -> None:
        """Ends at once."""
        self._server.stop(0).wait()
