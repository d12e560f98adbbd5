"""DNS over UDP with the compiled fast path: a thread for each core, in front of the responder."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from node.endpoint import Endpoint
from node.logging import get_logger
from node.sockets import bound_socket
from registry.address import special_ranges
from registry.kinds import Status
from secondary.dns.compiled.answering import FastPath
from secondary.dns.compiled.frames import FrameListener
from secondary.dns.compiled.listener import BatchListener
from secondary.dns.compiled.table import CompiledTable
from secondary.dns.server import LimitedAnswers
from secondary.dns.table import LISTED
from secondary.dns.transport import Answer
from secondary.dns.udp import ListenUdp, SocketListener, UdpListener
from secondary.dns.xdp import XdpFront

_log = get_logger("dns")


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
        )
        return cls(path, table, limiter.limited, threads)


def batched_listeners(fast: FastAnswers, front: XdpFront | None = None) -> ListenUdp:
    """What makes as many listeners at an endpoint as there are to be threads.

    With a front, one more for each of its queues, which takes what comes in there.
    """

    def listen(endpoint: Endpoint, answer: Answer) -> list[UdpListener]:
        # Another process must not come to share the endpoint unnoticed.
        with bound_socket(endpoint, socket.SOCK_DGRAM) as alone:
            settled = Endpoint(*alone.getsockname()[:2])
        found: list[UdpListener] = [
            BatchedUdpListener(settled, answer, fast) for _ in range(fast.threads)
        ]
        if front:
            queues = range(len(front.sockets))
            found += [FramedUdpListener(front, queue, settled, answer, fast) for queue in queues]
        return found

    return listen


class BatchedUdpListener(SocketListener):
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


class FramedUdpListener(UdpListener):
    """One queue of an interface, and the thread that serves it."""

    def __init__(
        self,
        front: XdpFront,
        queue: int,
        endpoint: Endpoint,
        answer: Answer,
        fast: FastAnswers,
    ) -> None:
        """`answer` is asked for what the fast path declines; see `UdpListener`."""
        super().__init__(f"dns-xdp-{queue}")
        self._front, self._queue, self._endpoint = front, queue, endpoint
        self._frames = front.sockets[queue]
        self._batches = FrameListener(
            self._frames.fd, fast.path, fast.table, answer, self.counter, fast.limited
        )

    @property
    def endpoint(self) -> Endpoint:
        """Where those listen that have what does not come this way."""
        return self._endpoint

    def start(self) -> None:
        """Begins to take queries, which the ordinary sockets have had so far."""
        super().start()
        self._front.begin(self._queue)

    def stop(self) -> None:
        """Leaves queries to the ordinary sockets, and ends after the batch at hand."""
        self._stopping = True
        self._front.close()
        self._batches.stop()
        super().stop()

    def _serve(self) -> None:
        try:
            self._batches.serve(self._frames)
        finally:
            # The filter passes on what has no socket: nothing waits where nobody reads any more.
            self._frames.close()
        if not self._stopping:
            _log.warning("dns.interface_gone", queue=self._queue)

    def _close(self) -> None:
        self._frames.close()
