"""A secondary, as anyone may ask it."""

from __future__ import annotations

from registry.kinds import Kind
from registry.proof import Lookup
from registry.wire.v1 import log_pb2, mirror_pb2, mirror_pb2_grpc, replication_pb2
from smtpnic.client.connection import Connection, Server
from smtpnic.views import MirrorStatus


class Mirror(Server):
    """A secondary, as anyone may ask it."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._stub = mirror_pb2_grpc.MirrorStub(self._channel)

    def prove(self, kind: Kind, key: bytes) -> Lookup:
        """What the replica holds of a key, with its proof; nothing is verified yet."""
        request = mirror_pb2.ProveRequest(kind=log_pb2.Kind.ValueType(kind), key=key)
        return Lookup.from_message(self._connection.call(self._stub.Prove, request))

    def roots(self, after: int) -> list[bytes]:
        """The board's roots of later versions than `after`; nothing is verified yet."""
        request = replication_pb2.GetRootsRequest(after=after)
        return list(self._connection.call(self._stub.GetRoots, request).roots)

    def status(self) -> MirrorStatus:
        """How the secondary says it is."""
        found = self._connection.call(self._stub.GetStatus, mirror_pb2.GetMirrorStatusRequest())
        return MirrorStatus(
            **{name: getattr(found, name) for name in MirrorStatus.__dataclass_fields__}
        )
