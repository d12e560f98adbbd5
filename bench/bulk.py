"""Many changes over one stream, as an import sends them; the requests are encoded in advance."""

from __future__ import annotations

import queue
import time
from collections.abc import Sequence
from typing import Any, Final

import grpc

from bench.http2 import CallError
from lab.cluster import Cluster
from node.tls import CHANNEL_OPTIONS, channel_credentials
from registry.wire.v1 import registration_pb2 as pb

SUBMIT: Final = "/smtpnic.v1.Registry/Submit"
CHANGES_A_REQUEST: Final = 600
# As many as the primary takes before it answers the first.
IN_FLIGHT: Final = 4
CALL_SECONDS: Final = 600.0


def submit_bulk(
    cluster: Cluster, requests: Sequence[bytes], seconds: float = CALL_SECONDS
) -> tuple[int, float]:
    """Sends requests for so long, or until there are no more: changes acknowledged, seconds taken.

    CallError when one was refused.
    """
    credentials = channel_credentials(cluster.ca.read_bytes())
    with grpc.secure_channel(cluster.public, credentials, CHANNEL_OPTIONS) as channel:
        # Connected before the clock runs.
        grpc.channel_ready_future(channel).result(CALL_SECONDS)
        outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        submit: Any = channel.stream_stream(SUBMIT, None, None)
        started = time.perf_counter()
        answers = submit(iter(outgoing.get, None), timeout=CALL_SECONDS)
        remaining = iter(requests)
        for _, request in zip(range(IN_FLIGHT), remaining, strict=False):
            outgoing.put(request)
        acknowledged = 0
        for answer in answers:
            acknowledged += _count(answer)
            late = time.perf_counter() - started > seconds
            outgoing.put(None if late else next(remaining, None))
        return acknowledged, time.perf_counter() - started


def _count(answer: bytes) -> int:
    response = pb.SubmitResponse.FromString(answer)
    for outcome in response.outcomes:
        if outcome.HasField("problem"):
            raise CallError(f"a change was refused: {outcome.problem.message}")
    return len(response.outcomes)
