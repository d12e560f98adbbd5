"""smtpnic.v1.Mirror: proofs and status, for anyone, over TLS; bounded in calls and connections."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any, Final, NoReturn

import grpc
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.grpc_health import ReadinessServicer
from node.http import Readiness
from node.identity_files import IdentityFiles
from node.limits import HANDSHAKE_MS, MAX_METADATA_BYTES
from node.tls import SERVER_OPTIONS, renewed_server_credentials
from registry.entry import MAX_KEY_BYTES, MAX_KIND, state_key
from registry.root_chain import later_roots
from registry.wire.v1 import mirror_pb2 as pb
from registry.wire.v1 import replication_pb2
from registry.wire.v1.mirror_pb2_grpc import MirrorServicer, add_MirrorServicer_to_server
from secondary.follower_status import StatusBoard
from secondary.proving import CannotProveError, Prover
from secondary.roots import Roots
from secondary.sections import MirrorSettings
from secondary.settings import SecondarySettings

NAME: Final[str] = pb.DESCRIPTOR.services_by_name["Mirror"].full_name
# Proofs wait for etcd and disk more than they compute.
THREADS: Final = 4
# A question is a kind and a key.
MAX_REQUEST_BYTES: Final = 1024
MAX_STREAMS_PER_CONNECTION: Final = 16
# A call that is begun and never asked holds a thread until its connection ends: clients of
# gRPC connect anew when they are told, and lose no call by it.
CONNECTION_MS: Final = 30_000
CONNECTION_GRACE_MS: Final = 5_000


class MirrorService(MirrorServicer):
    """Answers from what the follower holds."""

    def __init__(
        self, settings: SecondarySettings, board: StatusBoard, prover: Prover, roots: Roots
    ) -> None:
        self._settings = settings
        self._board = board
        self._prover = prover
        self._roots = roots
        self._version = version("smtp-registry")

    def Prove(  # noqa: N802 - the method's name on the wire
        self, request: pb.ProveRequest, context: grpc.ServicerContext
    ) -> pb.ProveResponse:
        """The record of a key or its absence, proved; UNAVAILABLE while that cannot be."""
        if not 0 < request.kind <= MAX_KIND or not 0 < len(request.key) <= MAX_KEY_BYTES:
            _abort(
                context,
                grpc.StatusCode.INVALID_ARGUMENT,
                f"a kind from 1 to {MAX_KIND} and a key of 1 to {MAX_KEY_BYTES} bytes are needed",
            )
        try:
            return self._prover.prove(state_key(request.kind, request.key)).to_message()
        except CannotProveError as error:
            _abort(context, grpc.StatusCode.UNAVAILABLE, str(error))

    def GetRoots(  # noqa: N802 - the method's name on the wire
        self,
        request: replication_pb2.GetRootsRequest,
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> replication_pb2.GetRootsResponse:
        """The board's roots of later versions."""
        return replication_pb2.GetRootsResponse(roots=later_roots(self._roots.chain, request.after))

    def GetStatus(  # noqa: N802 - the method's name on the wire
        self,
        request: pb.GetMirrorStatusRequest,  # noqa: ARG002
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> pb.MirrorStatus:
        """How the follower stands."""
        status = self._board.now
        return pb.MirrorStatus(
            name=self._settings.name,
            version=self._version,
            phase=status.phase.value,
            advice=status.advice,
            size=status.size,
            checkpoint=status.checkpoint,
            checkpoint_ms=status.checkpoint_ms,
            freshness_ms=status.freshness_ms,
            zone_serial=status.zone_serial,
            live_keys=status.live_keys,
            upstream=str(self._settings.upstream),
            upstream_size=status.upstream_size,
            cosigned_size=status.cosigned_size,
            cosigned_ms=status.cosigned_ms,
            cosigning_problem=status.cosigning_problem,
            out_of_rotation=status.out_of_rotation,
            certificate_ends_ms=status.certificate_ends_ms,
            certificate_problem=status.certificate_problem,
            path=status.path,
            set=pb.SetStanding(
                draining=status.set_standing.draining,
                admitted=status.set_standing.admitted,
                places=status.set_standing.places,
                reason=status.set_standing.reason,
                heard_ms=status.set_standing.heard_ms,
            ),
            peers=[
                pb.PeerStatus(
                    url=one.url,
                    size=one.size,
                    seen_ms=int(one.seen_s * 1000),
                    problem=one.problem,
                )
                for one in status.peers
            ],
        )


class MirrorServer:
    """Listens from construction on, and answers between `start` and `stop`."""

    def __init__(
        self,
        settings: MirrorSettings,
        files: IdentityFiles,
        service: MirrorService,
        readiness: Readiness,
    ) -> None:
        """Health is told by `readiness`. ConfigurationError if it cannot listen."""
        self._server = grpc.server(
            ThreadPoolExecutor(THREADS, "mirror"),
            options=_options(settings),
            maximum_concurrent_rpcs=settings.calls,
        )
        add_MirrorServicer_to_server(service, self._server)
        add_HealthServicer_to_server(ReadinessServicer(readiness, NAME), self._server)
        try:
            credentials = renewed_server_credentials(files)
            port = self._server.add_secure_port(str(settings.listen), credentials)
        except RuntimeError as error:
            raise ConfigurationError(f"cannot listen on {settings.listen}: {error}") from None
        self.endpoint = Endpoint(settings.listen.host, port)

    def start(self) -> None:
        """Begin to answer."""
        self._server.start()

    def stop(self, grace_seconds: float) -> None:
        """Take no new call, wait for those in progress, and cut what is left."""
        self._server.stop(grace_seconds).wait()


def _options(settings: MirrorSettings) -> list[tuple[str, Any]]:
    return [
        *SERVER_OPTIONS,
        ("grpc.max_allowed_incoming_connections", settings.connections),
        ("grpc.max_concurrent_streams", MAX_STREAMS_PER_CONNECTION),
        ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
        ("grpc.max_connection_age_ms", CONNECTION_MS),
        ("grpc.max_connection_age_grace_ms", CONNECTION_GRACE_MS),
    ]


def _abort(context: grpc.ServicerContext, code: grpc.StatusCode, text: str) -> NoReturn:
    context.abort(code, text)
    raise AssertionError("abort raises")
