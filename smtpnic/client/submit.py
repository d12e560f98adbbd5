"""Many changes over one stream."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Final, Self, cast

import grpc

from registry.errors import Problem
from registry.wire.v1 import registration_pb2
from smtpnic.client.connection import Connection, problem_from
from smtpnic.errors import UnreachableError
from smtpnic.holder_key import HolderKey
from smtpnic.rows import Row

# A chunk is committed in a second even on a slow disk; a stalled stream must not hang for ever.
MAX_SILENCE_SECONDS: Final = 60.0

Change = registration_pb2.Change
RowChange = registration_pb2.RegisterRequest | registration_pb2.UpdateRequest


class SubmitStream:
    """Chunks of changes go in, their outcomes come out in the same order.

    Several chunks may be sent before the first is received; who sends must not forget to
    receive, since nothing here bounds what is on its way.
    """

    def __init__(
        self,
        connection: Connection,
        method: grpc.StreamStreamMultiCallable[
            registration_pb2.SubmitRequest, registration_pb2.SubmitResponse
        ],
        key: HolderKey,
    ) -> None:
        self._connection = connection
        self._key = key
        self._requests: queue.SimpleQueue[registration_pb2.SubmitRequest | None]
        self._requests = queue.SimpleQueue()
        self._responses: queue.SimpleQueue[registration_pb2.SubmitResponse | grpc.RpcError | None]
        self._responses = queue.SimpleQueue()
        self._call = method(iter(self._requests.get, None))
        # Read elsewhere: a signal's exception in gRPC's code would leave its locks taken for ever.
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Ends the thread in which gRPC reads the requests.
        self._requests.put(None)
        self._call.cancel()

    def register(self, rows: Sequence[Row]) -> None:
        """Sends a chunk of registrations: 1 to `registry.limits.MAX_CHANGES_PER_REQUEST`."""
        self._send(rows, lambda change: change.register)

    def update(self, rows: Sequence[Row]) -> None:
        """Sends a chunk of updates: as many."""
        self._send(rows, lambda change: change.update)

    def _send(self, rows: Sequence[Row], select: Callable[[Change], RowChange]) -> None:
        request = registration_pb2.SubmitRequest()
        holder_id, management_key = self._key.holder_id, self._key.management_key
        for row in rows:
            # Setting fields one by one costs two thirds of passing them to a constructor.
            change = select(request.changes.add())
            change.holder_id = holder_id
            change.management_key = management_key
            change.address = row.address
            change.host = row.host
            change.domain = row.domain
        self._requests.put(request)

    def receive(self) -> list[int | Problem]:
        """The outcomes of the oldest chunk that was not yet received: log indexes or Problems.

        UnreachableError when the stream broke or stands still; MalformedError when the server
        does not keep to the protocol.
        """
        try:
            response = self._responses.get(timeout=MAX_SILENCE_SECONDS)
        except queue.Empty:
            raise self._broken(f"no answer within {MAX_SILENCE_SECONDS:g} s") from None
        if response is None:
            raise self._broken("ended the stream")
        if isinstance(response, grpc.RpcError):
            raise self._connection.translate(cast("grpc.Call", response)) from None
        return [
            problem_from(outcome.problem) if outcome.HasField("problem") else outcome.index
            for outcome in response.outcomes
        ]

    def _read(self) -> None:
        try:
            for response in self._call:
                self._responses.put(response)
            self._responses.put(None)
        except grpc.RpcError as error:
            self._responses.put(error)

    def _broken(self, how: str) -> UnreachableError:
        return UnreachableError(f"{self._connection.endpoint}: {how}", may_pass=True)
