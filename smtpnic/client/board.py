"""The board's texts at the primary: read, and handed in."""

from __future__ import annotations

from dataclasses import dataclass

from registry.wire.v1 import board_pb2, board_pb2_grpc, replication_pb2
from smtpnic.client.connection import Connection, Server


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a text: who has signed, how many have to, and where it is in the log.

    `index` is 0 while it waits for more signatures.
    """

    text: bytes
    signed: tuple[str, ...]
    threshold: int
    index: int
    checkpoint: bytes


@dataclass(frozen=True, slots=True)
class LoggedText:
    """A decision as it stands in the log."""

    index: int
    time_ms: int
    text: bytes


class BoardClient(Server):
    """The primary's board service, as anyone may ask it."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._stub = board_pb2_grpc.BoardStub(self._channel)

    def roots(self, after: int) -> list[bytes]:
        """Roots of later versions than `after`, some of them; nothing is verified yet."""
        request = replication_pb2.GetRootsRequest(after=after)
        return list(self._connection.call(self._stub.GetRoots, request).roots)

    def submit(self, text: bytes) -> Submitted:
        """Hands a text in; Problem "board" if the board did not sign it, or not like this."""
        request = board_pb2.SubmitTextRequest(text=text)
        found = self._connection.call(self._stub.SubmitText, request)
        return Submitted(
            found.text, tuple(found.signed), found.threshold, found.index, found.checkpoint
        )

    def proposals(self) -> list[bytes]:
        """What waits for signatures."""
        request = board_pb2.ListProposalsRequest()
        return list(self._connection.call(self._stub.ListProposals, request).texts)

    def decisions(self) -> list[LoggedText]:
        """All that was decided, the oldest first; nothing is verified yet."""
        found: list[LoggedText] = []
        while True:
            after = found[-1].index if found else 0
            request = board_pb2.ListDecisionsRequest(after=after)
            some = self._connection.call(self._stub.ListDecisions, request).decisions
            if not some:
                return found
            found += [LoggedText(each.index, each.time_ms, each.text) for each in some]
