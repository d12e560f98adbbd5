"""DNS over UDP with the compiled fast path: a thread for each core, in front of the responder."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from node.endpoint import Endpoint
from registry.address import special_ranges
from registry.kinds import Status
from secondary.dns.compiled.answering import FastPath
from secondary.dns.compiled.listener import BatchListener
from secondary.dns.compiled.table import CompiledTable
from secondary.dns.server import LimitedAnswers
from secondary.dns.table import LISTED
from secondary.dns.transport import Answer
from secondary.dns.udp import ListenUdp, UdpListener
from secondary.sockets import bound_socket


@dataclass(frozen=True, slots=True)
class FastAnswers:
    """What the threads share."""

    path: FastPath
    table: Callable[[], CompiledTable | None]
    # Answers that the limits held back, by kind.
    limited: list[int]
    threads: int

    @classmethod
    def before(
        cls, answers: LimitedAnswers, table: Callable[[], CompiledTable | None], threads: int
    ) -> FastAnswers:
        """The common ones of `answers`, from the tables that these have."""
        responder, limiter = answers.responder, answers.limiter
        path = FastPath(
            responder.zones.fast(),
            responder.zones.above(),
            [(first.packed, last.packed) for first, last in special_ranges()],
            {status: status.name.lower().encode() for status in Status if status in LISTED},
            responder.cookies.keys,
            limiter,
            tells_nsid=bool(responder.identity.nsid),
            max_silence_seconds=responder.max_silence_seconds,
        )
        return cls(path, table, limiter.limited, threads)


def batched_listeners(fast: FastAnswers) -> ListenUdp:
    """What makes as many listeners at an endpoint as there are to be threads."""

    def listen(endpoint: Endpoint, answer: Answer) -> list[BatchedUdpListener]:
        # Another process must not come to share the endpoint unnoticed.
        with bound_socket(endpoint, socket.SOCK_DGRAM) as alone:
            settled = Endpoint(*alone.getsockname()[:2])
        return [BatchedUdpListener(settled, answer, fast) for _ in range(fast.threads)]

    return listen


class BatchedUdpListener(UdpListener):
    """One of several sockets at one endpoint, and the thread that serves it."""

    def __init__(self, endpoint: Endpoint, answer: Answer, fast: FastAnswers) -> None:
        """`answer` is asked for what the fast path declines; see `UdpListener`."""
        super().__init__(endpoint, is_shared=True)
        self._batches = BatchListener(
            self._socket.fileno(), fast.path, fast.table, answer, self.counter, fast.limited
        )

    def stop(self) -> None:
        """Ends after the batch at hand, and closes the socket."""
        self._batches.stop()
        super().stop()

    def _serve(self) -> None:
        self._batches.run()
